# Everything runs in .venv, which `make install` makes; only git, make and Python 3.11 or newer need to be there.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
MODEL ?= rules
UV ?= 0.13.8
BIN := .venv/bin
LINTED := src integrations tests cookbook benchmarks

.PHONY: install demo test lint format matrix bench clean

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt overrides.txt $(wildcard integrations/*/pyproject.toml)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv==$(UV)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --override overrides.txt --group dev --editable '.[local]' --editable integrations/langchain
	touch $@

demo: install
	$(BIN)/python cookbook/demo.py --model $(MODEL)

test: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check $(LINTED)
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/mypy $(LINTED)

format: install
	$(BIN)/ruff check --fix $(LINTED)
	$(BIN)/ruff format $(LINTED)

matrix:
	PYTHON=$(PYTHON) .ci/matrix

bench: install .venv-peers/.installed
	$(BIN)/python benchmarks/imports.py
	$(BIN)/python benchmarks/agents_batch.py
	$(BIN)/python benchmarks/batch_memory.py

# The peers need openai<3, so they live apart.
.venv-peers/.installed: Makefile
	$(PYTHON) -m venv .venv-peers
	$(BIN)/uv pip install --quiet --python .venv-peers/bin/python 'autobatcher==0.12.*'
	touch $@

clean:
	rm -rf .venv .venv-matrix .venv-peers build dist .mypy_cache .ruff_cache .pytest_cache
