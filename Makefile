# make demo: train a LoRA on emoji and show what came out.   make test: everything CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHON

.PHONY: demo test check fix docs acceptance gpu bench clean

demo: $(VENV)/.installed
	$(BIN)/scumble train example=emoji-style

test: $(VENV)/.installed
	$(MAKE) check

check:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -n auto --maxprocesses 8 --dist loadfile --durations=8

acceptance: $(VENV)/.installed
	$(BIN)/python -m pytest -q -m acceptance -n auto --maxprocesses 8 --dist loadfile --durations=8

gpu: $(VENV)/.installed
	$(BIN)/python -m pytest -q -m gpu tests/gpu

fix: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.installed
	$(BIN)/python scripts/make_docs.py

bench: $(VENV)/.installed
	$(BIN)/python bench/overhead.py
	$(BIN)/python bench/startup.py
	$(BIN)/python bench/throughput.py
	$(BIN)/python bench/optimizers.py
	$(BIN)/python bench/loading.py

$(VENV)/.installed: pyproject.toml constraints.txt scripts/install.sh
	sh scripts/install.sh $(VENV)

clean:
	rm -rf $(VENV) build dist outputs
