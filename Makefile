# One environment, .venv, for everything: `run` installs what the router needs, the other targets add the `dev` extra.
# A stamp file per kind of install, older than pyproject.toml when it must be repeated.

PYTHON ?= python3
# Three test processes for two cores: a third of the time a test waits for something.
WORKERS ?= 3
ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help run test torture lint format types reference bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  Variables: PYTHON=$(PYTHON) (3.11 or newer)  WORKERS=$(WORKERS) (test processes)  ARGS= (to demo, pytest or bench)"

run: .venv/.run ## Start the router on SQLite with the example rules, and play calls to it
	@exec $(BIN)/callrail-router demo $(ARGS)

test: .venv/.dev ## Run all tests, on SQLite and on a real PostgreSQL
	$(BIN)/pytest -n $(WORKERS) --dist worksteal $(ARGS)

torture: .venv/.dev ## Kill it a hundred times, take its database away for five minutes, save two gigabytes, stop it amid 2,000 orders of calls
	CALLRAIL_ROUTER_TEST_KILLS=100 CALLRAIL_ROUTER_TEST_OUTAGE=300 CALLRAIL_ROUTER_TEST_FULL_DOWNLOAD=1 CALLRAIL_ROUTER_TEST_SCHEDULES=2000 \
	$(BIN)/pytest -n $(WORKERS) --dist worksteal tests/crash tests/routers/test_outage.py tests/routers/test_hubspot_schedules.py tests/callrail/api/test_properties.py $(ARGS)

lint: .venv/.dev ## Check style and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: .venv/.dev ## Format, and mend what can be mended
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: .venv/.dev ## Check types
	$(BIN)/mypy
	$(BIN)/mypy .ci/smoke_wheel.py
	for recipe in examples/api/*.py; do $(BIN)/mypy "$$recipe" || exit 1; done

reference: .venv/.run ## Write docs/reference/ anew from the program
	$(BIN)/python -m routers.reference

bench: .venv/.dev ## Measure, and print the table of docs/performance.md
	$(BIN)/python -m bench $(ARGS)

clean: ## Remove the environment, builds and caches; databases stay
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "callrail-router needs Python 3.11 or newer, but PYTHON=$(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	@echo "Making .venv (once)" >&2
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

.venv/.run: pyproject.toml | $(BIN)/python
	@echo "Installing callrail-router into .venv (again only when pyproject.toml changes)" >&2
	@$(PIP) --editable .
	@touch $@

.venv/.dev: pyproject.toml | $(BIN)/python
	@echo "Installing callrail-router and the development tools into .venv (again only when pyproject.toml changes)" >&2
	@$(PIP) --editable '.[dev]'
	@touch .venv/.run $@
