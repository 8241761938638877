# make run     set up on a fresh machine, train on scikit-learn's digits
# make test    set up, then run the tests
# make lint    ruff and mypy
# make bench   dlx beside a bare PyTorch loop, Lightning and Keras
PYTHON ?= python3
BIN = .venv/bin

.PHONY: install run test lint bench wheel clean

install: .venv/.installed

# Made again whenever the dependencies change.
.venv/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

run: install
	$(BIN)/dlx train

test: install
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m tests.bench
	$(BIN)/python -m tests.bench.boltzmann
	$(BIN)/python -m tests.bench.ntm
	$(BIN)/python -m tests.bench.vectorized
	$(BIN)/python -m tests.bench.distributed

wheel: install
	$(BIN)/python -m build --wheel

clean:
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache
