# Thin: the same targets for a developer and for CI. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
PY := .venv/bin/python
READY := .venv/.ready
.DEFAULT_GOAL := help

help:  ## say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

$(READY): pyproject.toml deploy/local/install.sh
	@PYTHON=$(PYTHON) deploy/local/install.sh

install: $(READY)  ## make or refresh .venv (every other target does it by itself)

check: $(READY)  ## format, lint, types, import rules, architecture
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(PY) -m pytest -q tests/architecture

test: check  ## check, then every test: the fast ones first, then those with real services
	@deploy/local/outside-programs.sh
	$(PY) -m pytest -q -m "not conformance" tests/unit tests/contract
	$(PY) -m pytest -q -m "not conformance" tests/conformance tests/integration tests/e2e

conformance: $(READY)  ## the long form of the property tests
	$(PY) -m pytest -q -m conformance --timeout=7200 tests

up: $(READY)  ## start the stack in the background: make up [NODES=3] [WORKERS=2]
	@NODES=$(or $(NODES),1) WORKERS=$(or $(WORKERS),1) $(PY) -m deploy.local up

down: $(READY)  ## stop the stack
	@$(PY) -m deploy.local down

status: $(READY)  ## say what runs and what is ready
	@$(PY) -m deploy.local status

demo: $(READY)  ## the story in the terminal: make demo [ONCE=1]
	@ONCE=$(ONCE) $(PY) -m deploy.local demo

demo-telescope: $(READY)  ## a night at the telescope: make demo-telescope [ONCE=1] [KILL=1] [EXPOSURES=200]
	@ONCE=$(ONCE) KILL=$(KILL) EXPOSURES=$(or $(EXPOSURES),200) $(PY) -m deploy.local.demo_telescope

compose-test: $(READY)  ## docker compose up on a real engine (root starts one), a file in, its event out
	tests/compose/run.sh

reference: $(READY)  ## write docs/reference from the code
	$(PY) -m deploy.reference

bench: $(READY)  ## every benchmark, as tables: make bench [QUICK=1]
	$(PY) -m benchmarks all $(if $(QUICK),--quick)

clean: $(READY)  ## stop the stack and remove its data, the virtual environment and caches
	@$(PY) -m deploy.local down
	rm -rf .run .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.PHONY: help install check test conformance up down status demo demo-telescope compose-test reference bench clean
