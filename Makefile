# `make run` and `make test` need nothing but Python 3.11 or newer; each sets itself up and can be repeated.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test check bench endure clean

run: $(VENV)/.installed
	$(BIN)/python main.py 4 768x512 --prompts 2

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/composer.py
	$(BIN)/python benchmarks/csv_append.py
	$(BIN)/python benchmarks/collection.py
	$(BIN)/python benchmarks/engine.py
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/palette.py
	$(BIN)/python benchmarks/local.py
	$(BIN)/python benchmarks/gpu.py

# Half an hour: 10,000 images of a service that fails in every way, and 1,000 kills.
endure: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/faults.py
	$(BIN)/python benchmarks/kills.py

clean:
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Tirada needs Python 3.11 or newer: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev,local]"
	touch $@ $(VENV)/.installed
