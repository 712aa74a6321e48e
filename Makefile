# make demo, make test, make check and make docs set up everything they need in .venv and need nothing else but Python 3.11+.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check docs format clean

demo: $(READY)
	$(BIN)/fsseg-bench run --method baseline --method panet --method biopt --dataset shapes5i --shot 1 --out demo-out/runs
	$(BIN)/fsseg-bench report --results demo-out/runs --table all --format html --out demo-out/report.html

test: $(READY)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going docs docs/_build

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Dependency groups need pip 25.1; the bundled one may be older.
$(READY): pyproject.toml hatch_build.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $(READY)

clean:
	rm -rf $(VENV) demo-out dist docs/_build
