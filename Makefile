# Every command of this repository. `make` alone lists them.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
ARGS ?=
DEBIAN_POSTGRES ?= /usr/lib/postgresql/15/bin
# Parts of the names of test files that are about HTTP, commands and pages: they run on one version of PostgreSQL only.
ANY_SERVER = embedded http pages assets rate_limits trusted_documents command connections hostile browsers bodies arguments empty_texts \
	cached_answers metrics_token openrouter cost sessions memory customer_urls operator_urls auth bound_admin saved_queries

PAGES := app/web/static/manifest.json
PAGE_SOURCES := $(shell find frontend \( -name node_modules -o -name generated -o -name clients \) -prune -o -type f -print) schema.graphql \
	$(wildcard docs/queries/*.graphql app/rest/documents/*.graphql)
WITH_NODE := PYTHON="$(abspath $(BIN))/python" frontend/with-node

.PHONY: help install install-dev clients clients-if-possible schema-lint run test soak adversary check lint types layers layout format bench schema lock build clean pages pages-if-possible pages-check screenshots

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

frontend/node_modules/.package-lock.json: frontend/package.json frontend/package-lock.json frontend/.npmrc | $(BIN)/python
	@echo "setting up what the pages are built with ..."
	@$(WITH_NODE) npm ci --loglevel error --no-progress > /dev/null
	@touch $@

frontend/clients/node_modules/.package-lock.json: frontend/clients/package.json frontend/clients/package-lock.json frontend/.npmrc | $(BIN)/python
	@echo "setting up GraphQL clients, which the tests run ..."
	@$(WITH_NODE) sh -c "cd clients && npm ci --loglevel error --no-progress" > /dev/null
	@touch $@

# By cd, not by --prefix, which would also move where npm looks for the configuration of the machine.
clients: frontend/clients/node_modules/.package-lock.json ## Set up Apollo Client, urql, Relay's compiler and graphql-eslint for the tests

clients-if-possible:
	@$(MAKE) --no-print-directory clients || echo "GraphQL clients could not be set up (above is why): their tests are left out" >&2

schema-lint: clients ## The schema and the stored documents by the rules of graphql-eslint
	@$(WITH_NODE) sh -c "cd clients && npm run --silent lint"

$(PAGES): frontend/node_modules/.package-lock.json $(PAGE_SOURCES)
	@echo "building the pages ..."
	@$(WITH_NODE) npm run --silent build -- --logLevel warn

pages: $(PAGES) ## Build the pages (GraphiQL, /network, ...), with the machine's Node or one of its own

pages-if-possible:
	@$(MAKE) --no-print-directory pages || echo "the pages could not be built (above is why): the API works without them, and each page says so" >&2

pages-check: frontend/node_modules/.package-lock.json ## Types and style of the pages
	@$(WITH_NODE) npm run --silent check

run: install pages-if-possible ## Set up, load demo data if the database is empty, serve on 127.0.0.1:8000
	@$(BIN)/tokengraph demo $(ARGS)

test: install-dev pages-if-possible clients-if-possible $(VENV)/litellm/.installed ## Set up and pass the tests (ARGS="-k name" to choose)
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)
	@if [ -n "$(ARGS)" ]; then :; elif [ -x $(DEBIAN_POSTGRES)/initdb ]; then \
		echo "once more, what has SQL of its own, on PostgreSQL 15:"; \
		$(BIN)/python -m pytest -n 2 --dist loadfile --postgres $(DEBIAN_POSTGRES) $(foreach name,$(ANY_SERVER),--ignore-glob='*test_*$(name)*') tests/integration tests/migration; \
	else echo "PostgreSQL 15 is not installed ($(DEBIAN_POSTGRES)): its pass is left out"; fi

lint: install-dev ## Style and mistakes
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .

types: install-dev ## Types, strict, tests too
	@$(BIN)/mypy

layers: install-dev ## Which layer may import which
	@$(BIN)/lint-imports

layout: install-dev ## Draw the packages and their imports in ARCHITECTURE.md
	@$(BIN)/python -m tests.layout

KILLS ?= 50
SEED ?=
soak: install-dev ## Kill gateway and database at random moments, for minutes (KILLS=50 SEED=n)
	@SOAK_KILLS=$(KILLS) SOAK_SEED=$(SEED) $(BIN)/python -m pytest tests/faults $(ARGS)

adversary: install-dev ## Attack a live gateway for two minutes; print the worst stall and the peak memory
	@$(BIN)/python -m tests.adversary $(ARGS)

check: lint types layers pages-check schema-lint test adversary ## All that CI checks

format: install-dev frontend/node_modules/.package-lock.json ## Format the sources
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --fix --quiet .
	@$(WITH_NODE) npm run --silent format

bench: install-dev ## Measure, and print ratios
	@$(BIN)/python -m benchmarks $(ARGS)

schema: install ## Write schema.graphql and the fields in docs/usage-record.md from the code
	@$(BIN)/tokengraph schema print > schema.graphql
	@$(BIN)/python -m tests.record_docs

lock: install-dev ## Resolve the dependencies anew (needs uv)
	@uv pip compile --quiet --universal --python-version 3.11 --no-header --no-emit-index-url --generate-hashes pyproject.toml requirements/build.in -o requirements/run.lock
	@uv pip compile --quiet --universal --python-version 3.11 --no-header --no-emit-index-url --generate-hashes pyproject.toml requirements/build.in --group dev -c requirements/run.lock -o requirements/dev.lock
	@uv pip compile --quiet --universal --python-version 3.11 --no-header --no-emit-index-url --generate-hashes requirements/litellm.in -o requirements/litellm.lock
	@uv pip compile --quiet --universal --python-version 3.11 --no-header --no-emit-index-url --generate-hashes requirements/node.in -o requirements/node.lock
	@cd frontend && rm -rf node_modules package-lock.json && npm install --silent --package-lock-only
	@cd frontend/clients && rm -rf node_modules package-lock.json && npm install --silent --package-lock-only

screenshots: install-dev pages ## Make the pictures of the pages in docs/images (needs Chromium)
	@$(BIN)/python -m tests.browser.screenshots

build: install-dev pages ## Make the wheel in dist/
	@$(BIN)/python -m hatchling build -t wheel

clean: ## Remove what was set up and built
	@rm -rf $(VENV) dist app/web/static frontend/node_modules frontend/clients/node_modules frontend/src/generated .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
