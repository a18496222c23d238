# Every command of this repository. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
ARGS ?=
DEBIAN_POSTGRES ?= /usr/lib/postgresql/15/bin

.PHONY: help install install-dev run test soak check lint types layers format bench schema lock build clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot make virtual environments; on Debian: apt install python3-venv" >&2; exit 1; }

$(VENV)/.installed: requirements/run.lock pyproject.toml | $(BIN)/python
	@echo "setting up $(VENV) ..."
	@$(PIP) install --require-hashes -r requirements/run.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: requirements/dev.lock $(VENV)/.installed
	@echo "setting up the tools for tests ..."
	@$(PIP) install --require-hashes -r requirements/dev.lock
	@touch $@

install: $(VENV)/.installed ## Make .venv with the locked dependencies and .venv/bin/tokengraph

install-dev: $(VENV)/.installed-dev ## The same, with what the tests need

$(VENV)/litellm/.installed: requirements/litellm.lock $(VENV)/.installed-dev
	@echo "setting up LiteLLM, a client of the tests ..."
	@$(PYTHON) -m venv $(VENV)/litellm
	@$(VENV)/litellm/bin/python -m pip --disable-pip-version-check --no-input --quiet install --require-hashes -r requirements/litellm.lock
	@touch $@

run: install ## Set up, load demo data if the database is empty, serve on 127.0.0.1:8000
	@$(BIN)/tokengraph demo $(ARGS)

test: install-dev $(VENV)/litellm/.installed ## Set up and pass the tests (ARGS="-k name" to choose)
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)
	@if [ -n "$(ARGS)" ]; then :; elif [ -x $(DEBIAN_POSTGRES)/initdb ]; then \
		echo "once more, what uses a database, on PostgreSQL 15:"; \
		$(BIN)/python -m pytest -n 2 --dist loadfile --postgres $(DEBIAN_POSTGRES) --ignore-glob='*test_embedded*' tests/integration tests/contract tests/migration; \
	else echo "PostgreSQL 15 is not installed ($(DEBIAN_POSTGRES)): its pass is left out"; fi

lint: install-dev ## Style and mistakes
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .

types: install-dev ## Types, strict, tests too
	@$(BIN)/mypy

layers: install-dev ## Which layer may import which
	@$(BIN)/lint-imports

KILLS ?= 50
SEED ?=
soak: install-dev ## Kill gateway and database at random moments, for minutes (KILLS=50 SEED=n)
	@SOAK_KILLS=$(KILLS) SOAK_SEED=$(SEED) $(BIN)/python -m pytest tests/faults $(ARGS)

check: lint types layers test ## All that CI checks

format: install-dev ## Format the sources
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --fix --quiet .

bench: install-dev ## Measure, and print ratios
	@$(BIN)/python -m benchmarks $(ARGS)

schema: install ## Write schema.graphql from the code
	@$(BIN)/tokengraph schema print > schema.graphql

lock: install-dev ## Resolve the dependencies anew (needs uv)
	@uv pip compile --quiet --universal --python-version 3.11 --no-header --no-emit-index-url --generate-hashes pyproject.toml requirements/build.in -o requirements/run.lock
	@uv pip compile --quiet --universal --python-version 3.11 --no-header --no-emit-index-url --generate-hashes pyproject.toml requirements/build.in --group dev -c requirements/run.lock -o requirements/dev.lock
	@uv pip compile --quiet --universal --python-version 3.11 --no-header --no-emit-index-url --generate-hashes requirements/litellm.in -o requirements/litellm.lock

build: install-dev ## Make the wheel in dist/
	@$(BIN)/python -m hatchling build -t wheel

clean: ## Remove what was set up and built
	@rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
