# Each target makes the environment itself where it is missing: on a fresh machine `make demo` or `make test` is all.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test lint check bench drill accuracy clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev,examples]"
	touch $@

demo: $(READY)
	$(BIN)/python examples/demo.py

# A file's tests stay with one worker: what they share is computed once.
test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_layers.py

check: lint test

bench: $(READY)
	$(BIN)/python -m benchmarks

drill: $(READY)
	$(BIN)/python -m benchmarks.drill

# What was answered before is taken from results/accuracy; remove that folder to ask again.
accuracy: $(READY)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[accuracy]"
	$(BIN)/python -m benchmarks.accuracy

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist report.html
