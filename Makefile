# Every target makes its own environment in .venv: only Python (3.10 or later) and make are needed.
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv
export UV_PROJECT_ENVIRONMENT := .venv

.PHONY: help test test-fast lint format types demo standalone constraints clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

.venv/.ready: pyproject.toml constraints.txt
	@echo "Installing Airflow and the provider into .venv (a minute or two, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.8"
	@$(UV) pip install --quiet --python $(BIN)/python --compile-bytecode \
		--constraint constraints.txt --group dev --editable ".[s3,simulator]"
	@touch $@

constraints: ## Resolve constraints.txt anew
	$(UV) pip compile --quiet --universal --python-version 3.10 --no-emit-index-url --no-annotate \
		--custom-compile-command "make constraints" --extra s3 --extra simulator --group dev \
		pyproject.toml --output-file constraints.txt --upgrade
