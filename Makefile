# make demo, make test, make check and make docs set up everything they need in .venv and need nothing else but Python 3.11+.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check docs format clean

demo: $(READY)
	$(BIN)/fsseg-bench run --method baseline --method panet --method biopt --dataset shapes5i --shot 1 --jobs auto
	$(BIN)/fsseg-bench report --dataset shapes5i --format html --out results/report.html
	@printf '\nNext, in this folder (%s):\n\n' "$(CURDIR)"
	@printf '  source %s/bin/activate\n' "$(VENV)"
	@printf '  fsseg-bench compare baseline biopt panet --dataset shapes5i\n'
	@printf '  python -m webbrowser "file://%s/results/report.html"\n\n' "$(CURDIR)"

test: $(READY)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going docs docs/_build

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(READY): pyproject.toml hatch_build.py tools/set_up.py
	@$(PYTHON) tools/set_up.py

clean:
	rm -rf $(VENV) results/report.html dist docs/_build docs/jupyter_execute
