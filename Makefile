# make setup   the environment: .venv with the pinned dependencies and this package
# make demo    the whole pipeline on synthetic footage, offline, a few minutes on 2 cores
# make test    lint, types and the test suite
# make docs    the documentation site, into site/
# make check   installation, `dsanet --help` and the fast tests on another Python: make check PYTHON=python3.13
# make mutants   mutation tests of the code that decides results: one to two hours on 2 cores, then what has changed
# make gpu-check   on a machine with a CUDA card: the tests marked `gpu` and the benchmarks, at most 7 minutes;
#                  the packages that this Python lacks may lie as wheels in a folder: make gpu-check WHEELS=wheels
PYTHON ?= python3
OUT ?= demo
BIN := .venv/bin
# Tests without CLIP and Prefect: two minutes. Those of the reader find what another PyAV does otherwise.
FAST_TESTS := tests/test_architecture.py tests/evaluate tests/dsanet/test_equations.py \
	tests/dsanet/test_bags.py tests/dsanet/test_linear.py tests/dsanet/test_optim.py \
	tests/extract/test_snippets.py tests/extract/test_manifest.py tests/extract/test_store.py \
	tests/extract/test_reader.py tests/extract/test_timeline.py \
	tests/flows/test_config.py tests/flows/test_locks.py

.PHONY: setup demo test docs check mutants gpu-check
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
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

# Its own environment, which is removed afterwards: the one of `make setup` stays as it is.
check: FOLDER := $(shell mktemp -d)
check:
	@trap 'rm -rf $(FOLDER)' EXIT; set -e; $(PYTHON) -V; \
		$(PYTHON) -m venv $(FOLDER); \
		$(FOLDER)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'; \
		$(FOLDER)/bin/dsanet --help > /dev/null; \
		$(FOLDER)/bin/python -m pytest -q $(FAST_TESTS)

gpu-check:
	$(PYTHON) tests/gpu_check.py $(if $(WHEELS),--wheels $(WHEELS))

mutants: .venv/.mutants
	$(BIN)/python tests/mutants.py $(ONLY)

.venv/.mutants: .venv/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[mutants]'
	@touch $@

docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict # with --quiet, strict would not see warnings

.venv/.docs: .venv/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	@touch $@
