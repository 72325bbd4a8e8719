# `make demo` and `make test` set up everything they need; nothing else is required first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Compiled below on every core, and without the tests of other people: pip compiles one file after another.
PIP    := $(BIN)/pip install -qq --no-compile
COMPILE = @$(BIN)/python -m compileall -qq -j 0 -x '/tests?/' $(VENV)/lib >/dev/null 2>&1 || true
# What failed beside other tests gets one more turn alone, up to its first failure: a defect fails again, a test that a
# busy machine was too slow for does not, and is named in the log, to be mended.
ALONE  = || { echo "failed beside other tests; once more, alone:"; \
	$(BIN)/python -m pytest -v --last-failed --last-failed-no-failures none --exitfirst $(1); }
TASK   := clean up this scan, read it, and tell me its language, its key phrases and its sentiment

.PHONY: help demo test check bench fmt clean

help:            ## list the targets
	@grep -hE '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/catp: pyproject.toml
	@echo "setting up $(VENV) with CATP and its local tools (about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) -e '.[tools]'
	$(COMPILE)
	@touch $@

$(VENV)/.dev: pyproject.toml
	@echo "setting up $(VENV) with everything the tests need (about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) -e '.[dev]'
	$(COMPILE)
	@touch $@ $(BIN)/catp

demo: $(BIN)/catp ## plan, price and run the main job on a shipped scan
	@echo 'catp run "$(TASK)" --input page=examples/scan.png --alpha 0.8'
	@$(BIN)/catp run "$(TASK)" --input page=examples/scan.png --alpha 0.8

test: $(VENV)/.dev ## run every test
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(call ALONE)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m browser tests/dashboard/browser $(call ALONE,-m browser tests/dashboard/browser)

check: $(VENV)/.dev ## lint, format check and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fmt: $(VENV)/.dev ## format and apply safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## run every benchmark; writes benchmarks/results/*.json
	$(PIP) -e '.[bench]'
	for script in benchmarks/[a-z]*.py; do $(BIN)/python -m benchmarks.$$(basename $$script .py) || exit 1; done

clean:           ## remove the virtual environment and caches
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
