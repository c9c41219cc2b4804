# make demo   everything from nothing to a processed upload (SIZE=1GiB, FILE=path, PROVIDER=gcs)
# make dev    the same parts, left running, with lines to paste
# make test   the whole suite
# make chaos  5,000 uploads and trees of 5,000 files through every kind of trouble (UPLOADS=…, FILES=…), half an hour
# make env    .env for docker-compose.yml: fresh secrets
# PYTHON=python3.12 chooses an interpreter; the first run makes .venv from the lock files.

PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python -m

.PHONY: demo dev test test-fast chaos install install-dev lint bench openapi lock env clean
.DEFAULT_GOAL := demo

install: .venv/installed
install-dev: .venv/installed-dev

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) deploy/setup.py requirements.lock
	@touch $@

.venv/installed-dev: requirements-dev.lock .venv/installed
	@$(PYTHON) deploy/setup.py requirements-dev.lock
	@touch $@

demo: install
	@$(RUN) broker demo --provider $(or $(PROVIDER),s3) --size $(or $(SIZE),64MiB) $(if $(FILE),--file "$(FILE)")

dev: install
	@$(RUN) broker dev --provider $(or $(PROVIDER),s3) $(ARGS)

test: install-dev
	@$(RUN) pytest $(ARGS)

test-fast: install-dev
	@$(RUN) pytest -m "not chaos" $(ARGS)

chaos: install-dev
	@CHAOS_UPLOADS=$(or $(UPLOADS),5000) CHAOS_TREE_FILES=$(or $(FILES),5000) $(RUN) pytest -m chaos $(ARGS)

lint: install-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(RUN) broker openapi --check

bench: install-dev
	@$(RUN) bench

openapi: install
	@$(RUN) broker openapi

# What the images install: the same versions as above, less of them.
IMAGE_LOCK = $(BIN)/uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header -q \
  -c requirements-dev.lock

lock: install-dev
	@$(BIN)/uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header -q \
	  --extra server --extra embedded --extra build pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header -q \
	  --extra server --extra embedded --extra build --extra dev --extra gcs pyproject.toml -c requirements.lock -o requirements-dev.lock
	@$(IMAGE_LOCK) pyproject.toml -o deploy/locks/bare.lock
	@$(IMAGE_LOCK) --extra server --extra otel pyproject.toml -o deploy/locks/server.lock
	@echo 'hatchling>=1.27' | $(IMAGE_LOCK) - -o deploy/locks/build.lock

env:
	@$(PYTHON) deploy/env.py

clean:
	rm -rf .venv .dev .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
