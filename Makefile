# Set up, check, test, demonstrate. Everything that is installed is pinned by hash in requirements/*.lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.set-up
CRD := crds/timestream.dev_timestreamaggregations.yaml

.PHONY: help setup check lint unit test test-long demo soak fuzz mutants bench images crds chart-docs locks fix cluster-up cluster-shell cluster-down clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(SETUP) ## the virtual environment .venv, with every tool

$(SETUP): requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $(PYTHON) is not Python 3.11 or newer with venv. Install it (Debian: apt-get install python3-venv) or name another: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

check: $(SETUP) ## lint, types, import rules, unit tests; under a minute
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint unit

lint: $(SETUP) ## lint, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports --no-logo
	$(BIN)/vulture

unit: $(SETUP) ## the unit tests
	$(BIN)/pytest -q --numprocesses=auto tests/unit tests/machine

test: $(SETUP) ## lint, and every test that this machine can run; the first run builds a cluster
	@$(BIN)/python -m tests.outlook
	@$(MAKE) --no-print-directory lint
	$(BIN)/pytest --numprocesses=auto --durations=20

test-long: $(SETUP) ## the tests of `make test` with their long stories, then the soak: hours (root)
	TIMESTREAM_LONG=1 $(BIN)/pytest --numprocesses=auto --durations=20
	@$(MAKE) --no-print-directory soak

demo: $(SETUP) ## a cluster, the chart, a simulated stream, and what was recorded
	$(BIN)/python -m tests.e2e.demo

soak: $(SETUP) ## 20 minutes of 4 x nominal with faults, and an account of each frame (root)
	$(BIN)/python -m tests.faults.soak

fuzz: $(SETUP) ## ten minutes of bytes that the parser does not expect
	$(BIN)/python -m tests.fuzz --minutes 10

mutants: $(SETUP) ## plants faults that would lose frames, one at a time: some test has to notice each
	$(BIN)/python -m tests.mutants

bench: $(SETUP) ## cost of recording, as ratios measured in one run
	$(BIN)/python -m tests.bench

images: $(SETUP) ## both container images, as OCI archives
	$(BIN)/python -m tests.cluster images

crds: $(SETUP) ## crds/ and the chart's copy, from the models
	$(BIN)/python crds/generate.py > $(CRD)
	cp $(CRD) charts/timestream-aggregator/files/crd.yaml

chart-docs: $(SETUP) ## the chart's README and the descriptions in its schema
	$(BIN)/python -m tests.chart.documents

locks: $(SETUP) ## requirements/*.lock from pyproject.toml (UPGRADE=--upgrade for newer versions)
	PATH="$(CURDIR)/$(BIN):$$PATH" requirements/compile.sh $(UPGRADE)

fix: $(SETUP) ## format, and mend what lint can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

cluster-up: $(SETUP) ## a single-node Kubernetes of the tests, kept running
	$(BIN)/python -m tests.cluster up

cluster-shell: $(SETUP) ## a shell with kubectl and helm for it
	$(BIN)/python -m tests.cluster shell

cluster-down: $(SETUP) ## and away again
	$(BIN)/python -m tests.cluster down

clean: ## remove what make made in this folder
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist
