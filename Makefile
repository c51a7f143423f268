# Everything that a developer, CI or a newcomer runs. Only python3 (3.11 or newer, with venv) and make are needed to begin.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-examples lint check bench mutants chaos docs format clean

# The oldest one that will do is asked for by name where plain python3 is older.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

# uv lives in a folder of its own: the lock is installed by the version that wrote it, whatever the machine has.
UV_VERSION := 0.13.8
UV := .uv/bin/uv
BIN := .venv/bin
# An activated environment or a uv of the machine's own settings must not redirect the installation.
export UV_PROJECT_ENVIRONMENT := .venv
export UV_PYTHON_DOWNLOADS := never
export UV_NO_PROGRESS := 1
# The machine's certificates, so that it works behind a company's own authority too.
export UV_SYSTEM_CERTS ?= 1
unexport VIRTUAL_ENV
unexport PYTHONPATH
# Images for Python often forbid to keep what is compiled: each worker would compile all that it imports at its start.
unexport PYTHONDONTWRITEBYTECODE

help: ## List the targets
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | while IFS=$$'\t' read -r name what; do printf '  make %-13s %s\n' "$$name" "$$what"; done

setup: .venv/.synced ## Make .venv with annals in .venv/bin, exactly as locked

.uv/.installed-$(UV_VERSION):
	@[ -n "$(PYTHON)" ] || { echo "make setup: no Python 3.11 or newer found; install one or say make setup PYTHON=/path/to/python3" >&2; exit 2; }
	$(PYTHON) -m venv --clear .uv
	.uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

.venv/.synced: .uv/.installed-$(UV_VERSION) pyproject.toml uv.lock
	$(UV) sync --frozen --all-extras --python "$(PYTHON)"
	@touch $@

demo: setup ## Start all of it, tell a story, verify it, clean up
	$(BIN)/annals demo

test: setup ## Run every test against a real broker in three processes (TEST_PROCESSES=n), branch coverage at least 95 %
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(or $(TEST_PROCESSES),3) --dist loadfile
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

test-examples: setup ## Run the examples in Python, JavaScript and Java against a real broker, with the test vectors
	$(BIN)/pytest tests/functional/test_examples.py tests/functional/test_other_languages.py tests/functional/test_subscriber_examples.py tests/functional/test_answering_subscribers.py

lint: setup ## Format, lint, types, imports, current docs and schemas
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	MYPYPATH=docs $(BIN)/mypy --explicit-package-bases docs/generate.py docs/generator
	$(BIN)/mypy --config-file tests/mypy.ini --exclude '^tests/chaos/' tests examples
	$(BIN)/mypy --config-file tests/mypy.ini tests/chaos
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check
	$(BIN)/annals schemas check

check: lint ## What `lint` looks at, unit and property tests, some histories
	$(BIN)/pytest tests/unit tests/properties tests/simulation -m 'not slow'

mutants: setup ## Change the pure parts piece by piece, and see a test go red (MODULES="topics/keys.py" for some)
	$(BIN)/python bench/mutants.py $(MODULES)

bench: setup ## Measure, with the baselines, and write bench/RESULTS.md
	$(BIN)/annals bench --write bench

chaos: setup ## Break things for ten minutes (SOAK_SECONDS=n for another time) and prove that nothing was lost
	ANNALS_TEST_SOAK_SECONDS=$(or $(SOAK_SECONDS),600) $(BIN)/pytest -m chaos --timeout=0 tests/chaos

docs: setup ## Write the reference, the JSON Schemas and the AsyncAPI document from the code
	$(BIN)/python docs/generate.py
	$(BIN)/annals schemas check
	$(BIN)/annals schemas export schemas/json

format: setup ## Format, and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove what was built and measured; data and .venv stay
	rm -rf .coverage .coverage.* htmlcov dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.venv/*' -not -path './.uv/*' -prune -exec rm -rf {} +
