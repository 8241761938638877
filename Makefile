# make run     set up on a fresh machine, train on scikit-learn's digits
# make test    set up, then run the tests, with coverage; SELECT='-m "not slow"' runs the quick ones
# make torture a stranger's run, with every verb; then runs of every model killed, resumed, compared: an hour
# make lint    ruff, mypy and import-linter
# make results docs/RESULTS.md from the records in docs/results/
# make bench   dlx beside a bare PyTorch loop, Lightning and Keras
PYTHON ?= python3
BIN = .venv/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
SELECT ?=

.PHONY: install develop run test torture lint results bench wheel clean

install: .venv/.installed
develop: .venv/.develop

# Made again whenever the dependencies change.
.venv/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) -e .
	touch $@

.venv/.develop: .venv/.installed
	$(PIP) -e '.[dev]'
	touch $@

run: install
	$(BIN)/dlx train

test: develop
	$(BIN)/python -m pytest -n auto --dist worksteal --cov --cov-report=term $(SELECT)

torture: develop
	$(BIN)/python -m pytest tests/security
	$(BIN)/python -m tests.torture 3600

lint: develop
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

results: install
	$(BIN)/python -m dlx.records.tables

bench: develop
	$(PIP) -e '.[bench]'
	$(BIN)/python -m tests.bench
	$(BIN)/python -m tests.bench.boltzmann
	$(BIN)/python -m tests.bench.ntm
	$(BIN)/python -m tests.bench.vectorized
	$(BIN)/python -m tests.bench.distributed

wheel: develop
	$(BIN)/python -m build --wheel

clean:
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .coverage
