# `make` alone lists the targets. Every target that needs the environment sets it up first.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/python -m uv pip
STAMP  := $(VENV)/.installed
SOURCE := documents/docstrings.parquet
HANDBOOK := documents/handbook
# The same Java for everything that is started here; see the script for where it looks.
JAVA   := JAVA_HOME=$$(sh conf/ensure_java.sh) && export JAVA_HOME &&
CODE   := schemas udfs spark_jobs quickstart notebooks conf tests setup.py
# Their answers are on the second page of a PDF, in a table, and in a section whose headings say what it is about.
ABOUT_HANDBOOK := "What do I do if the fog horn stays silent?" \
    "What does a berth for a boat of 11 metres cost for a night in summer?" \
    "May my four-year-old climb the tower?"

# A wheel, and the zip made of it, are the same bytes wherever and whenever they are built.
export SOURCE_DATE_EPOCH := 315532800

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install lock quickstart quickstart-documents test test-fast check format validate validate-refresh \
    validate-export validate-compare validate-context validate-documents validate-plan validate-folders \
    validate-promotion validate-languages validate-databricks validate-schedules validate-airflow \
    validate-kubernetes picture validate-doctor validate-cluster validate-s3 bench bench-gpu gpu crash \
    crash-spaces soak soak-follow soak-upgrade mutants wheel zip clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## Set up everything: .venv from requirements.lock, Java where there is none, the model
	@sh conf/ensure_java.sh >/dev/null
	@$(BIN)/python quickstart/fetch_model.py

$(STAMP): requirements.lock setup.py
	@"$(PYTHON)" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "make: '$(PYTHON)' is not Python 3.11 or newer with venv and ensurepip; name one that is, as in: make install PYTHON=python3.11 (Debian: apt-get install python3-venv)" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock >$(VENV)/uv.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock
	@# Compiled once, here: otherwise every process that may not write beside the packages compiles torch again.
	$(UV) install --python $(BIN)/python --quiet --compile-bytecode --require-hashes -r requirements.lock
	$(UV) install --python $(BIN)/python --quiet --no-deps --no-build-isolation --editable .
	@touch $@

lock: $(STAMP) ## Write requirements.lock from setup.py; keeps versions that still fit, UPGRADE=1 takes the newest
	$(UV) compile setup.py --quiet --all-extras --universal --python-version 3.11 --generate-hashes \
	    --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) --output-file requirements.lock

quickstart: install ## Embed 600 real documents into Delta tables and ask them a question (QUESTION="...")
	$(BIN)/python quickstart/collect_docstrings.py --out $(SOURCE)
	$(JAVA) $(BIN)/python quickstart/quickstart.py "$(or $(QUESTION),How do I show a progress bar in the terminal?)"

quickstart-documents: install ## Embed a handbook in files of every type and ask it three questions (QUESTION="...")
	$(BIN)/python quickstart/write_documents.py --out $(HANDBOOK)
	$(JAVA) $(BIN)/python quickstart/quickstart.py --config conf/quickstart-documents.yaml -k 2 \
	    $(if $(QUESTION),"$(QUESTION)",$(ABOUT_HANDBOOK))

# Two at a time, a file each: a small Spark job keeps little more than one core busy.
test: install ## Run every test that needs no GPU; prints the twenty slowest
	$(JAVA) $(BIN)/python -m pytest tests --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations=20

test-fast: install ## Run the unit tests, which start no Spark
	$(JAVA) $(BIN)/python -m pytest tests/unit --numprocesses 2 --dist loadfile

check: $(STAMP) ## Check format, style, types and docstrings
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/pydoclint --quiet schemas udfs spark_jobs quickstart

format: $(STAMP) ## Format the code and apply automatic fixes
	$(BIN)/ruff check --fix --exit-zero --quiet $(CODE)
	$(BIN)/ruff format $(CODE)

validate: install ## Reproduce published scores: retrieval on SciFact, similarity on the STS Benchmark
	$(JAVA) $(BIN)/python tests/validate/scores.py

validate-refresh: install ## Refresh real libraries; compare counts, cost and rows with what changed (PARTS="tldr third")
	$(JAVA) $(BIN)/python tests/validate/refresh.py $(PARTS)

validate-export: install ## Export a real library to every kind of target, refresh it, and compare each with the table
	$(JAVA) $(BIN)/python tests/validate/export.py

validate-compare: install ## Estimate a difference from samples of SciFact by 20 seeds, and compare with the truth
	$(JAVA) $(BIN)/python tests/validate/compare.py

validate-context: install ## Measure what titles before chunks gain on judged libraries (PARTS="scifact cranfield edits")
	$(JAVA) $(BIN)/python tests/validate/context.py $(PARTS)

validate-documents: install ## Parse real documents of every kind and a hostile set, beside other parsers (PARTS="texts hostile speed")
	$(BIN)/python tests/validate/documents.py $(PARTS)

validate-plan: install ## Plan refreshes of real libraries, run them, and compare (PARTS="tldr scifact capped nothing")
	$(JAVA) $(BIN)/python tests/validate/plan.py $(PARTS)

validate-folders: install ## List, load and refresh folders of 100,000 and of 20,000 files (PARTS="listing refresh")
	$(JAVA) $(BIN)/python tests/validate/document_folder.py $(PARTS)

validate-promotion: install ## Promote a better model of a real library, refuse the worse one, and roll back
	$(JAVA) $(BIN)/python tests/validate/promotion.py

validate-languages: $(STAMP) ## Cut real text in many scripts and real Markdown by both rules; compare stability, fill and time
	$(BIN)/python tests/validate/languages.py $(PARTS)

validate-databricks: install ## Run the notebooks for Databricks with its limits, hold the bundle to its schema (PARTS="bundle --schema FILE")
	$(JAVA) $(BIN)/python tests/validate/on_databricks.py $(PARTS)

validate-schedules: install ## Follow docs/schedules.md for cron and systemd in a copy of this system (PARTS="cron"); needs root
	$(JAVA) $(BIN)/python tests/validate/schedules.py $(PARTS)

validate-airflow: install ## Have a real Airflow load, refresh, skip, fail and retry (PARTS="codes library")
	$(JAVA) $(BIN)/python tests/validate/airflow.py $(PARTS)

validate-kubernetes: install wheel ## Hold the files to their schemas; build and start the image (PARTS="schemas"); needs root
	$(JAVA) $(BIN)/python tests/validate/kubernetes.py $(PARTS)

picture: $(STAMP) ## Draw the picture of a report in docs/ anew; needs chromium (Debian: apt-get install chromium)
	$(BIN)/python tests/validate/picture.py

validate-doctor: install ## Plant faults in a cluster of two workers, and hold embedlake doctor to each (ONLY="clock"); needs root
	$(JAVA) $(BIN)/python tests/validate/doctor.py $(ONLY)

validate-cluster: install ## Run a real library on a cluster of two workers, and kill parts of it (ONLY="worker merge"); partly as root
	$(JAVA) $(BIN)/python tests/validate/cluster.py $(ONLY)

validate-s3: install ## Keep a store on a real S3 server and compare with a local one (PARTS="library crashes")
	$(JAVA) $(BIN)/python tests/validate/object_store.py $(PARTS)

bench: install ## Time the engine and whole jobs against alternatives (ONLY="engine job")
	$(JAVA) $(BIN)/python tests/benchmarks/bench.py $(ONLY)

bench-gpu: $(STAMP) ## Time the engine on this machine's GPU against alternatives, without Spark
	$(BIN)/python quickstart/fetch_model.py
	$(BIN)/python tests/benchmarks/gpu.py

gpu: $(STAMP) ## Run every GPU test and benchmark on this machine's GPUs, and keep the results
	$(BIN)/python quickstart/fetch_model.py
	$(BIN)/python tests/benchmarks/gpu_tests.py
	$(BIN)/python tests/benchmarks/gpu.py

ROUNDS ?= 100
RUNS   ?= 500
REFRESHES ?= 200
QUESTIONS ?= 1000
JOBS   ?= 1

crash: install ## Kill runs at their commits, resume them, compare (ROUNDS=100 SEED=1 JOBS=1)
	$(JAVA) $(BIN)/python tests/soak/crash.py --rounds $(ROUNDS) --jobs $(JOBS) $(if $(SEED),--seed $(SEED)) \
	    --out tests/soak/results/crash.json

crash-spaces: install ## Kill promotions, rollbacks, removals and exports at their commits (ROUNDS=100 SEED=1 JOBS=1)
	$(JAVA) $(BIN)/python tests/soak/crash.py --spaces --rounds $(ROUNDS) --jobs $(JOBS) $(if $(SEED),--seed $(SEED)) \
	    --out tests/soak/results/crash-spaces.json

soak: install ## Random refreshes, crashes and take-overs against an oracle (RUNS=500 SEED=1 JOBS=1)
	$(JAVA) $(BIN)/python tests/soak/soak.py --runs $(RUNS) --jobs $(JOBS) $(if $(SEED),--seed $(SEED)) \
	    --out tests/soak/results/soak.json

soak-follow: install ## Follow a source through many refreshes and watch the memory (REFRESHES=200)
	$(JAVA) $(BIN)/python tests/soak/follow.py --refreshes $(REFRESHES) --out tests/soak/results/follow.json

soak-upgrade: install ## Ask questions while a model is changed, and changed back (QUESTIONS=1000)
	$(JAVA) $(BIN)/python tests/soak/upgrade.py --questions $(QUESTIONS) --out tests/soak/results/upgrade.json

mutants: install ## Seed bugs, one at a time, and expect a test to fail (JOBS=1 ONLY="part of their names")
	$(JAVA) $(BIN)/python tests/mutants/mutants.py --jobs $(JOBS) $(if $(ONLY),--only "$(ONLY)") --out tests/mutants/results/mutants.json

wheel: $(STAMP) ## Build dist/embedlake-*.whl
	@rm -rf build dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist

zip: wheel ## Build dist/embedlake.zip for spark-submit --py-files
	cp dist/embedlake-*.whl dist/embedlake.zip

clean: ## Remove what was built; keeps .venv, models/, documents/ and lake/
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis spark-warehouse metastore_db derby.log
	find schemas udfs spark_jobs quickstart tests -name __pycache__ -type d -prune -exec rm -rf {} +
