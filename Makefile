# make setup   the environment: .venv with the pinned dependencies and this package
# make demo    the whole pipeline on synthetic footage, offline, a few minutes on 2 cores
# make test    lint, types and the test suite
PYTHON ?= python3
OUT ?= demo
BIN := .venv/bin

.PHONY: setup demo test
.DEFAULT_GOAL := demo

setup: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "dsanet needs Python 3.10 or newer; $(PYTHON) is $$($(PYTHON) -V). Try: make PYTHON=python3.12"; exit 1; }
	@echo "Installing into .venv (PyTorch among it: a few gigabytes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup
	$(BIN)/dsanet demo --out $(OUT)

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q
