# Two commands do everything on a fresh machine: `make demo` and `make test`. Both set up .venv first.

PYTHON := $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
SETUP := .venv/.ready

.PHONY: help demo test test-all faults lint clean

help:  ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(SETUP): pyproject.toml constraints.txt
	@echo "== setting up .venv (some minutes the first time)"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[training,dev]'
	@touch $@

demo: $(SETUP)  ## Send a built-in case through the real daemon; leaves the RTSTRUCT and a picture in demo/
	$(BIN)/rtseg-daemon demo --out demo

test: $(SETUP) lint  ## All checks that CI makes, under 15 minutes on 2 cores
	$(BIN)/python -m pytest -m "not slow and not faults"

test-all: $(SETUP) lint  ## The slow tests too
	$(BIN)/python -m pytest -m "not faults"

faults: $(SETUP)  ## Long fault injection: processes killed, disks full, partners away
	$(BIN)/python -m pytest -m faults tests/faults

lint: $(SETUP)  ## Style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:  ## Remove what make made
	rm -rf .venv demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
