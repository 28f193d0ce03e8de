# The verbs of this repository. `make help` lists them.
#
#   make demo                        a real benchmark on this machine, nothing to set up
#   make demo MODEL=/path/to.gguf    the same with a model file that is already here
#   make test                        every test
#   make PYTHON=python3.12 VENV=.venv-312 test

SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin
PLUGINS := $(wildcard plugins/*)
PACKAGES := mlpinf_core $(wildcard plugins/*/src)

# The first Python that is new enough; PYTHON=... chooses another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& { echo $$p; break; }; done)

INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
EDITABLE := -e . $(foreach plugin,$(PLUGINS),-e ./$(plugin))

.PHONY: help demo test test-fast lint format docs bench clean model

help:
	@sed -n 's/^#   \(make.*\)/\1/p' Makefile
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 18

$(VENV)/pip-is-new: constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 to 3.13 was found"; \
		echo "  remedy: install one, or name it: make PYTHON=/path/to/python ..."; exit 5; }
	@echo "making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) --upgrade "pip>=25.1"
	@touch $@

$(VENV)/installed: $(VENV)/pip-is-new pyproject.toml $(wildcard plugins/*/pyproject.toml)
	@echo "installing mlpinf and its plugins"
	@$(INSTALL) $(EDITABLE)
	@touch $@

$(VENV)/installed-%: $(VENV)/installed
	@echo "installing what '$*' needs"
	@$(INSTALL) --group $*
	@touch $@

demo: $(VENV)/installed ## run a real language model through LoadGen: Offline and Server
	@$(BIN)/mlpinf run llama3.1-8b --variant tiny --scenarios Offline,Server \
		$(if $(MODEL),--set benchmark.model_path=$(MODEL))

model: $(VENV)/installed ## fetch the tiny models
	@$(BIN)/mlpinf fetch llama3.1-8b,whisper --variant tiny

test: $(VENV)/installed-test model ## every test
	@$(BIN)/python -m pytest $(ARGS)

test-fast: $(VENV)/installed-test ## the tests that take no more than seconds each
	@$(BIN)/python -m pytest -m "not slow and not model" $(ARGS)

lint: $(VENV)/installed-lint ## style, types, import layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@for package in $(PACKAGES); do echo "mypy $$package"; $(BIN)/mypy $$package || exit 1; done
	@$(BIN)/lint-imports

format: $(VENV)/installed-lint ## put the code in shape
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(VENV)/installed-docs ## build the documentation into site/
	@$(BIN)/mkdocs build --strict

bench: $(VENV)/installed ## the harness's own speed, against the bare binding
	@$(BIN)/python benchmarks/harness.py

clean: ## remove what the targets above made
	rm -rf $(VENV) site build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
