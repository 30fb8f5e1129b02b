# make test, make demo: everything from a fresh machine with Python 3.11+. The environment is made here and nowhere else.
# make test CI=1: the slow tests too. make lock: requirements.lock anew, after a change of requirements*.txt (UPGRADE=1: with
# the newest versions of what they don't name).
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup lock demo test lint format bench clean

setup: .venv/ready

.venv/ready: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: $(PYTHON) is older than Python 3.11; run make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	awk '/^uv==/, /# via/' requirements.lock > .venv/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --require-hashes --python $(BIN)/python -r requirements.lock
	touch $@

lock: setup
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes $(if $(UPGRADE),--upgrade) \
		--custom-compile-command "make lock" --output-file requirements.lock requirements-dev.txt

demo: setup
	SYSTEM=$(SYSTEM) ./demo.sh

test: setup lint
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
		$(if $(CI),,-m "not slow")

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
