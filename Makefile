# Everything runs in .venv, which `make install` makes; only git, make and Python 3.11 or newer need to be there.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
MODEL ?= rules
UV ?= 0.13.8
JOBS ?= 4
BIN := .venv/bin
LINTED := src integrations tests cookbook benchmarks

.PHONY: install demo test lint format frameworks faults campaign proxy-load matrix bench clean

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt overrides.txt $(wildcard integrations/*/pyproject.toml)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv==$(UV)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --override overrides.txt --group dev --editable '.[local]' --editable integrations/langchain --editable integrations/llama-index
	touch $@

demo: install
	$(BIN)/python cookbook/demo.py --model $(MODEL)

test: install
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

lint: install
	$(BIN)/ruff check $(LINTED)
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/mypy $(LINTED)

format: install
	$(BIN)/ruff check --fix $(LINTED)
	$(BIN)/ruff format $(LINTED)

# Longer than `make test`: seeded faults and deaths, every crash matrix, and a crowd of clients at the proxy.
faults: install
	$(BIN)/python -m tests.faults.campaign --seeds 20 --requests 1000

campaign: install
	$(BIN)/python -m tests.faults.campaign --seeds 200 --requests 10000

proxy-load: install
	DW_AGENTS_PROXY_CLIENTS=3000 $(BIN)/python -m pytest tests/proxy/test_many_clients.py

# Instructor and DSPy do not go with the newest openai, so they live apart.
frameworks: .venv-frameworks/.installed
	.venv-frameworks/bin/python -m pytest tests/frameworks

.venv-frameworks/.installed: install
	$(PYTHON) -m venv .venv-frameworks
	$(BIN)/uv pip install --quiet --python .venv-frameworks/bin/python --editable '.[openai]' pytest pytest-asyncio pytest-timeout pytest-xdist 'instructor>=1.17' 'dspy>=3.4,<3.5'
	touch $@

matrix:
	PYTHON=$(PYTHON) .ci/matrix

bench: install .venv-peers/.installed
	$(BIN)/python -m benchmarks.run $(BENCH)

# The peers need openai<3, so they live apart.
.venv-peers/.installed: Makefile
	$(PYTHON) -m venv .venv-peers
	$(BIN)/uv pip install --quiet --python .venv-peers/bin/python 'autobatcher==0.12.*'
	touch $@

clean:
	rm -rf .venv .venv-matrix .venv-peers .venv-frameworks build dist .mypy_cache .ruff_cache .pytest_cache
