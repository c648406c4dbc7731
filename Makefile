# Every task of the project. `make` or `make help` lists them; all but `help` and `clean` first run `setup`.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory --no-builtin-rules
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The Python that makes .venv: 3.11 or newer. `make setup PYTHON=python3.12` takes another.
PYTHON ?= python3
# More arguments, for pytest, for `lunacore demo` or for the benchmarks: `make test ARGS="-k tokens"`.
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/setup.stamp
# loadgroup keeps tests with the same xdist_group mark (say, of one server) in one worker. Three workers, since tests of servers
# wait more than they compute.
PYTEST := $(BIN)/python -m pytest -n 3 --dist loadgroup
SPHINX := $(BIN)/python -m sphinx -W --keep-going -n -d docs/_build/doctrees
# --universal: one file for every platform and every Python from 3.11. The file in place keeps its versions;
# `make lock LOCK_FLAGS=--upgrade` takes newer ones.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"
LOCK_FLAGS ?=

# uv, which has certificates of its own, trusts those of the system, as pip does.
export UV_SYSTEM_CERTS := true

# Tests start hundreds of programs. With bytecode at hand, each starts in a third of the time.
export UV_COMPILE_BYTECODE := true
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## list the tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP) ## make .venv with everything: Python packages at their locked hashes, and LunaCore itself
	@:

# Half-made or broken environments are made anew; one that works is brought to the state of the lock.
$(STAMP): pyproject.toml lunacore/version.py requirements/bootstrap.txt requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("LunaCore needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + ": name another with make PYTHON=...")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: lock
lock: ## resolve pyproject.toml into requirements/*.txt (LOCK_FLAGS=--upgrade for newer versions)
	@test -x $(BIN)/uv || { echo "make lock needs uv in $(VENV): run make setup first" >&2; exit 1; }
	$(LOCK) $(LOCK_FLAGS) --all-extras --group dev pyproject.toml -o requirements/dev.txt
	$(LOCK) $(LOCK_FLAGS) --constraints requirements/dev.txt requirements/bootstrap.in -o requirements/bootstrap.txt
	$(LOCK) $(LOCK_FLAGS) --constraints requirements/dev.txt --extra server --extra s3 --extra postgresql --extra redis pyproject.toml -o requirements/server.txt

# Servers of other projects that tests and benchmarks run against: too big for requirements, kept between runs.
# To add one, write a rule whose target is .tools/NAME-VERSION/PROGRAM, which makes it under a temporary name from sources that
# are checked, and moves it into place; then name that target here.
MINIO_VERSION := v0.0.0-20260212201848-7aac2a2c5b7c
MINIO := .tools/minio-$(MINIO_VERSION)/minio
MC_VERSION := v0.0.0-20250313080218-cf909e1063a9
MC := .tools/mc-$(MC_VERSION)/mc
# What npm makes ends with this file, which npm itself writes last.
JAVASCRIPT := .tools/javascript/node_modules/.package-lock.json
TYPESCRIPT := .tools/javascript/node_modules/.bin/tsc
DEMO_REACT := lunacore_http/demo/react/dist/page.js
# The demo and the tests do without their npm parts where there is no npm, and say so.
NPM_PARTS = $(if $(shell command -v npm),$(1))
TOOLS := $(MINIO) $(MC) $(JAVASCRIPT) $(DEMO_REACT)

# MinIO's own way to install its last community version. Go checks the module against its checksum database.
$(MINIO):
	@command -v go >/dev/null || { echo "make tools builds MinIO and needs Go 1.24 or newer" >&2; exit 1; }
	mkdir -p $(@D).part
	GOBIN=$(CURDIR)/$(@D).part nice go install -trimpath -ldflags='-s -w' github.com/minio/minio@$(MINIO_VERSION)
	mkdir -p $(@D)
	mv $(@D).part/minio $@
	rmdir $(@D).part

# MinIO's client, with which the guide to a deployment on MinIO makes bucket, user and policy.
$(MC):
	@command -v go >/dev/null || { echo "make tools builds MinIO's client and needs Go 1.24 or newer" >&2; exit 1; }
	mkdir -p $(@D).part
	GOBIN=$(CURDIR)/$(@D).part nice go install -trimpath -ldflags='-s -w' github.com/minio/mc@$(MC_VERSION)
	mkdir -p $(@D)
	mv $(@D).part/mc $@
	rmdir $(@D).part

# Checks the types of the browser's modules, which are JavaScript with JSDoc, and builds the pages of browser tests. The lock file
# holds the hashes of the packages. --legacy-peer-deps: React 18 and 19 are tested side by side.
$(JAVASCRIPT): .ci/javascript/package.json .ci/javascript/package-lock.json
	@command -v npm >/dev/null || { echo "make lint checks JavaScript with TypeScript and needs Node.js with npm" >&2; exit 1; }
	rm -rf .tools/javascript .tools/javascript.part
	mkdir -p .tools/javascript.part
	cp .ci/javascript/package.json .ci/javascript/package-lock.json .tools/javascript.part
	npm ci --prefix .tools/javascript.part --legacy-peer-deps --ignore-scripts --no-audit --no-fund --silent
	mv .tools/javascript.part .tools/javascript
	touch $@

# The demo's React page, which Vite builds in a copy of its folder: packages of npm do not belong into one of Python.
$(DEMO_REACT): $(filter-out %/dist,$(wildcard lunacore_http/demo/react/*)) $(wildcard lunacore_http/demo/react/src/* lunacore_http/javascript/*/*)
	@command -v npm >/dev/null || { echo "the demo's React page is built by npm, of Node.js 18 or newer" >&2; exit 1; }
	rm -rf .tools/demo-react
	mkdir -p .tools/demo-react/demo
	cp -R lunacore_http/javascript .tools/demo-react
	cp -R lunacore_http/demo/react .tools/demo-react/demo
	npm ci --prefix .tools/demo-react/demo/react --ignore-scripts --no-audit --no-fund --silent
	npm run build --prefix .tools/demo-react/demo/react --silent -- --logLevel warn
	rm -rf $(@D)
	cp -R .tools/demo-react/demo/react/dist $(@D)

.PHONY: tools
tools: setup $(TOOLS) ## make big parts, such as servers to test against, in .tools/
	@$(if $(TOOLS),:,echo "Nothing to make: no test or benchmark needs a server of another project.")

.PHONY: run
run: setup $(call NPM_PARTS,$(DEMO_REACT)) ## start the demo, an application and a tokenizer (ARGS: those of lunacore demo)
	@$(BIN)/lunacore demo $(ARGS)

.PHONY: test
test: setup $(call NPM_PARTS,$(JAVASCRIPT) $(DEMO_REACT)) ## run every test but the long ones
	$(PYTEST) -m "not long" $(ARGS)

# pytest ends with 5 when it selects nothing. That is right only as long as no test carries the mark.
.PHONY: test-long
test-long: setup $(call NPM_PARTS,$(JAVASCRIPT) $(DEMO_REACT)) ## run the long tests, with many more examples
	@status=0; HYPOTHESIS_PROFILE=$${HYPOTHESIS_PROFILE:-long} $(PYTEST) -m long --timeout 900 $(ARGS) || status=$$?; \
	if [ $$status -eq 5 ] && [ -z "$(ARGS)" ] && ! grep -rqE 'mark\.long\b' tests --include='*.py'; then \
		echo "No test is marked long."; exit 0; \
	fi; \
	exit $$status

.PHONY: lint
lint: setup $(JAVASCRIPT) ## check style, types, layers, and that no file names a registry or a path of one machine
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy .ci/check_files.py docs/conf.py
	$(TYPESCRIPT) -p .ci/javascript/tsconfig.json
	$(BIN)/lint-imports
	$(BIN)/python .ci/check_files.py

.PHONY: docs
docs: setup ## build docs/_build/html and run the examples in the docs; every warning is an error
	$(SPHINX) -b html docs docs/_build/html
	$(SPHINX) -b doctest docs docs/_build/doctest

.PHONY: bench
bench: setup ## run the benchmark suite (ARGS: its arguments)
	$(BIN)/python -m benchmarks $(ARGS)

.PHONY: clean
clean: ## remove caches and what was built; .venv, .tools and data directories stay
	rm -rf build dist docs/_build .hypothesis .import_linter_cache .grimp_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.venv/*' -not -path './.tools/*' -prune -exec rm -rf {} +
