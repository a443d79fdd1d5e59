# Two commands do everything on a fresh machine: `make demo` and `make test`. Both set up .venv first.

PYTHON := $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
SETUP := .venv/.ready
SUPPLY := .venv-supply
# sends usage figures to its makers; openvino runs without it
UNWANTED := openvino-telemetry
# a test that stands still, or takes its process down, ends the run with its name: xdist would wait for ever after that
NEVER_HANG := -o faulthandler_timeout=900 -o faulthandler_exit_on_timeout=true --max-worker-restart=0
SUPPLY_TOOLS := uv==0.13.9 pip-audit==2.10.1 cyclonedx-bom==7.5.0

.PHONY: help demo test test-all results faults lint lock install-locked audit sbom soup fuzz clean

help:  ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(SETUP): pyproject.toml constraints.txt
	@echo "== setting up .venv (some minutes the first time)"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[training,dev]'
	$(BIN)/python -m pip uninstall --quiet --yes $(UNWANTED)
	@touch $@

demo: $(SETUP)  ## Send a built-in case through the real daemon; leaves the RTSTRUCT and a picture in demo/
	$(BIN)/rtseg-daemon demo --out demo

test: $(SETUP) lint  ## All checks that CI makes, 17 to 25 minutes on 2 cores
	$(BIN)/python -m pytest -m "not slow and not faults" -n 2 --dist loadfile $(NEVER_HANG)

test-all: $(SETUP) lint  ## The slow tests too
	$(BIN)/python -m pytest -m "not faults"

results: $(SETUP)  ## Write docs/results.md and README's table of methods anew from the committed logs
	$(BIN)/rtseg-train results models/han-oar --runs training/runs/han-oar --report training/runs/han-oar/report \
		--stress training/runs/han-oar/stress --stress training/runs/han-oar/folds/0 --stress training/runs/han-oar/folds/1 \
		--other models/han-anatomynet --other models/han-focusnet --other models/han-gtv \
		--methods training/methods.yaml --speed bench/logs/methods.jsonl --questions training/comparisons.yaml \
		--ensembles training/ensembles.yaml --commands training/commands.txt --out docs/results.md --readme README.md

faults: $(SETUP)  ## Long fault injection: processes killed, disks full, partners away
	$(BIN)/python -m pytest -m faults tests/faults

lint: $(SETUP)  ## Style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/make_map.py --check

$(SUPPLY)/.ready: Makefile
	test -x $(SUPPLY)/bin/python || $(PYTHON) -m venv $(SUPPLY)
	$(SUPPLY)/bin/python -m pip install --quiet --disable-pip-version-check $(SUPPLY_TOOLS)
	@touch $@

lock: $(SUPPLY)/.ready  ## Pin every dependency with hashes in requirements.lock
	$(SUPPLY)/bin/uv pip compile --quiet --generate-hashes --no-annotate --no-emit-package $(UNWANTED) --python-version 3.11 -c constraints.txt \
		--custom-compile-command 'make lock' --extra training --extra dev --extra cluster -o requirements.lock pyproject.toml requirements.in

install-locked:  ## A .venv of exactly what requirements.lock pins; any other file is refused
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(SETUP)

audit:  ## Published advisories about the pinned packages; skipped with a message where they cannot be reached
	@if $(MAKE) --no-print-directory $(SUPPLY)/.ready; then .ci/audit $(SUPPLY)/bin; \
	else echo "audit skipped: pip-audit cannot be installed"; fi

sbom: $(SUPPLY)/.ready  ## CycloneDX bill of materials of requirements.lock: dist/sbom.cdx.json
	@mkdir -p dist
	$(SUPPLY)/bin/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible \
		--output-format JSON --output-file dist/sbom.cdx.json

soup: $(SETUP)  ## Write docs/soup.md anew
	$(BIN)/python docs/make_soup.py

fuzz: $(SETUP)  ## Ten minutes of atheris on everything a stranger's bytes reach (pip install atheris first)
	@for target in association command_set data_set stored_file; do \
		$(BIN)/python -m fuzz $$target -max_total_time=150 build/fuzz/$$target || exit 1; done

clean:  ## Remove what make made
	rm -rf .venv $(SUPPLY) demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
