# The commands of the workbook; `make help` lists them. Each sets up what it needs, once: .venv from requirements.txt
# (PYTHON=python3.12 makes it with another Python) and the data of the quick profile. ARGS passes more to a command:
#   make run ARGS="01 -p draws=5"

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
PREPARED := $(VENV)/.prepared
CORES := $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
# Each worker of a test run holds up to 3 GB, so there are two even where there are more cores.
WORKERS ?= $(if $(filter 1,$(CORES)),1,2)

# What the person's own Python has installed must not shadow what is pinned.
export PYTHONNOUSERSITE := 1
unexport PYTHONPATH

.DEFAULT_GOAL := help
.PHONY: help run test lab build lock
.NOTPARALLEL:

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-6s %s\n", $$1, $$2}' Makefile

# `exec` lets Ctrl-C reach the command itself, which then ends its workers.
run: $(PREPARED) ## Run every chapter and check its claims; the report is runs/latest/report.html
	@exec $(BIN) -m workbook run $(ARGS)

test: $(PREPARED) ## Check code, notebooks and everything they claim
	$(BIN) -m ruff check .
	$(BIN) -m ruff format --check .
	$(BIN) -m pytest -n $(WORKERS) tests
	$(BIN) -m pytest --nbval --nbval-current-env -n $(WORKERS) --dist loadscope chapters solutions

lab: $(PREPARED) ## Open the course in JupyterLab, with your own copies of the labs in my_labs
	@$(BIN) -m workbook start
	@exec $(BIN) -m jupyter lab --LabApp.default_url=/lab/tree/chapters $(ARGS)

build: $(PREPARED) ## Rebuild and execute every notebook from its text in chapters/source and solutions/source
	@exec $(BIN) -m workbook build $(ARGS)

# The pins that stand in requirements.txt are kept where they can be; ARGS=--upgrade renews them all.
lock: ## Compile requirements.txt from pyproject.toml
	@test -x $(VENV)/bin/uv || { echo "make lock needs the environment: run 'make run' once" >&2; exit 1; }
	@cp requirements.txt $(VENV)/pins
	@$(VENV)/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --no-emit-index-url \
		--no-emit-find-links --no-annotate --no-header --quiet --output-file $(VENV)/pins $(ARGS)
	@{ echo "# The pinned packages, for Python 3.11 to 3.13 on Linux and macOS (arm64). Compiled from pyproject.toml by"; \
		echo "# 'make lock'; not to be edited by hand. The last line installs the workbook itself."; \
		cat $(VENV)/pins; echo "-e ."; } > $(VENV)/requirements.txt
	@mv $(VENV)/requirements.txt requirements.txt
	@echo "requirements.txt is compiled; the next make installs what has changed."

$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) workbook/environment.py

$(PREPARED): $(INSTALLED) $(wildcard data_scripts/*.py)
	@echo "Preparing the data of the quick profile."
	@$(BIN) -m data_scripts.prepare
	@touch $@
