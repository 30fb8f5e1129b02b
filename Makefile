# make test, make demo: everything from a fresh machine with Python 3.11+. The environment is made here and nowhere else.
# make test CI=1: the slow tests too.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test lint format bench clean

setup: .venv/ready

.venv/ready: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: $(PYTHON) is older than Python 3.11; run make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements-dev.txt
	touch $@

demo: setup
	SYSTEM=$(SYSTEM) ./demo.sh

test: setup lint
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(if $(CI),,-m "not slow")

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python -m benchmarks.predict
	$(BIN)/python -m benchmarks.preprocess
	$(BIN)/python -m benchmarks.loader

clean:
	rm -rf .venv
