# One command surface, for people and for CI. Each target is also a plain command, printed as it runs.
# Needs only python3.11, pip, git and make. `make PYTHON=/path/to/python3.11 ...` takes another interpreter.

PYTHON ?= python3.11
# How many seeds `make sim` runs.
SEEDS ?= 1000
# Further arguments of the programs behind `make demo`, `make bench` and `make sim`.
ARGS ?=
# Ray releases that `make test-ray-versions` runs on, besides the locked one: the oldest, which is the first with the newer
# reader of parquet, those after it, and whatever is newest on PyPI.
RAY_RELEASES ?= 2.57.1 2.58.1 2.59.0 newest
# Where `make dist` puts what it builds.
DIST ?= dist
# What takes about half the time of the tests without a cluster: most of the waiting, for an S3 server, is in it.
FAST_FIRST := tests/contract
# What takes about half the time of the tests with clusters. Each half wants 4 to 5 GB: where less than 10 GB are free,
# they run one after the other.
RAY_FIRST := $(addprefix tests/ray/,filesystems test_data_placement.py test_examples.py test_fsspec_abstract.py test_loads.py test_pages.py)
RAY_JOBS ?= $(shell awk '/^MemAvailable/ {print 1 + ($$2 > 10000000)}' /proc/meminfo)

BIN := .venv/bin
UV := .tools/bin/uv
SETUP := .venv/.stamp
BENCH := .venv/.stamp-bench

# Ray and uv must neither phone home, nor fetch an interpreter, nor pick up another project's environment.
export RAY_USAGE_STATS_ENABLED ?= 0
export UV_PYTHON_DOWNLOADS := never
export UV_PROJECT_ENVIRONMENT := .venv
unexport VIRTUAL_ENV
# Byte code is kept: a test run is dozens of processes, each of which would compile Ray and all the rest again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo dist test test-clients test-deploy test-dist test-endpoint test-s3-suite test-fast test-fast-first test-fast-others test-ray test-ray-first test-ray-others test-parquet test-ray-versions test-larger test-tensorflow test-browser screenshots browser check docs format bench bench-full bench-docs bench-epochs-large bench-endpoint bench-load bench-locality bench-overhead bench-parquet bench-scale bench-sync sim mutants clean

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(SETUP) ## Install everything into .tools and .venv (the other targets do so when needed)

$(UV):
	@echo "setting up: the package tool, into .tools"
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found; install Python 3.11, or give PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --upgrade --target .tools 'uv>=0.9,<1'

$(SETUP): pyproject.toml uv.lock $(UV)
	@echo "setting up: the locked packages, into .venv (about 1 GB; may take minutes)"
	@$(UV) sync --quiet --frozen --python $(PYTHON)
	@touch $@

$(BENCH): $(SETUP)
	@echo "setting up: the rivals of the benchmarks, into .venv (about 120 MB)"
	@$(UV) sync --quiet --frozen --inexact --python $(PYTHON) --group bench
	@touch $@

demo: $(SETUP) ## Run the main job: Ray Data over S3 through the cache, cold and warm
	$(BIN)/python -m raycache.demo $(ARGS)

test: test-fast test-ray test-dist ## Run all tests

test-fast: $(SETUP) ## Run the tests that need no Ray cluster, in two processes
	@$(MAKE) --no-print-directory -j2 --output-sync=target test-fast-first test-fast-others

test-fast-first: $(SETUP)
	$(BIN)/python -m pytest $(FAST_FIRST)

test-fast-others: $(SETUP)
	$(BIN)/python -m pytest tests $(addprefix --ignore=,tests/ray tests/browser tests/dist $(FAST_FIRST))

test-ray: $(SETUP) ## Run the tests on real Ray clusters and real S3 servers, in two processes if there is memory
	@$(MAKE) --no-print-directory -j$(RAY_JOBS) --output-sync=target test-ray-first test-ray-others

test-ray-first: $(SETUP)
	$(BIN)/python -m pytest $(RAY_FIRST)

test-ray-others: $(SETUP)
	$(BIN)/python -m pytest tests/ray $(addprefix --ignore=,$(RAY_FIRST))

dist: $(SETUP) ## Build the wheel and the sdist, into dist
	$(UV) build --quiet --offline --no-build-isolation --python $(BIN)/python --out-dir $(DIST)

test-dist: $(SETUP) ## Build the wheel, install it alone, and run a user's program on it; collect all tests
	$(BIN)/python -m pytest tests/dist

test-clients: $(SETUP) ## Run the tests of other projects' clients over the cache and its S3 endpoint (2 GB more, into build/clients)
	UV_PROJECT_ENVIRONMENT=build/clients $(UV) sync --quiet --frozen --inexact --python $(PYTHON)
	VIRTUAL_ENV=build/clients $(UV) pip install --quiet -r tests/support/clients.txt
	test -x build/awscli/bin/aws || ($(UV) venv --quiet --python $(PYTHON) build/awscli && VIRTUAL_ENV=build/awscli $(UV) pip install --quiet awscli)
	PATH="$$PWD/build/awscli/bin:$$PATH" build/clients/bin/python -m pytest tests/ray/filesystems/test_clients.py tests/ray/test_endpoint_clients.py -rs

test-s3-suite: $(SETUP) ## Run what concerns the S3 endpoint of the S3 test suite of the Ceph project (a checkout of it, into build/s3-tests)
	@test -d build/s3-tests || git clone --quiet --depth 1 https://github.com/ceph/s3-tests build/s3-tests \
		|| echo "the suite cannot be had here: put a checkout of it into build/s3-tests"
	UV_PROJECT_ENVIRONMENT=build/clients $(UV) sync --quiet --frozen --inexact --python $(PYTHON)
	VIRTUAL_ENV=build/clients $(UV) pip install --quiet -r tests/s3_suite/needs.txt
	test ! -d build/s3-tests || build/clients/bin/python -m tests.s3_suite build/s3-tests --tb=line $(ARGS)

test-deploy: $(SETUP) ## Run the tests of what lies in deploy/, also with KubeRay's own definitions (a checkout of it, into build/kuberay)
	@test -d build/kuberay || git clone --quiet --depth 1 https://github.com/ray-project/kuberay build/kuberay \
		|| echo "KubeRay's definitions cannot be had here: what needs them is skipped; KUBERAY_CRDS=FOLDER names another place"
	$(BIN)/python -m pytest tests/unit/deploy -rs

test-endpoint: $(SETUP) ## Run all tests of the S3 endpoint, also a minute of requests at random
	$(BIN)/python -m pytest tests/unit/endpoint tests/ray/test_endpoint.py tests/ray/test_endpoint_writes.py tests/ray/test_endpoint_hostile.py tests/ray/test_neighbours.py tests/ray/test_local_files.py -m "long or not long"

test-parquet: $(SETUP) ## Run all cases of Ray's own reader of parquet, which `make test` runs some of
	$(BIN)/python -m pytest tests/ray/test_parquet_reader.py -m "long or not long"

test-ray-versions: $(SETUP) $(addprefix test-ray-on-,$(RAY_RELEASES)) ## Run the tests of placed reads on other Ray releases, each in an environment of its own (1 GB each)

test-ray-on-%: $(SETUP)
	UV_PROJECT_ENVIRONMENT=build/ray-$* $(UV) sync --quiet --frozen --python $(PYTHON)
	$(UV) pip install --quiet --python build/ray-$*/bin/python --upgrade 'ray[data,default]$(if $(filter newest,$*),,==$*)'
	build/ray-$*/bin/python -m pytest tests/ray/test_data_placement.py tests/ray/test_data_planning.py tests/ray/test_parquet_reader.py -rs

.PHONY: test-hosts
test-hosts: $(SETUP) ## Run the tests on hosts of their own, in Linux namespaces (skipped without root or iproute2)
	$(BIN)/python -m pytest tests/hosts -m "long or not long" -rs

test-larger: $(SETUP) ## Run the tests of datasets larger than the cache
	$(BIN)/python -m pytest tests/ray/test_larger.py -m long

test-tensorflow: $(SETUP) ## Run the test of TFRecord files with TensorFlow itself, in an environment of its own (1.4 GB more)
	UV_PROJECT_ENVIRONMENT=build/tensorflow $(UV) sync --quiet --frozen --python $(PYTHON) --group tensorflow
	build/tensorflow/bin/python -m pytest tests/ray/test_data_placement.py -k tfrecords

.PHONY: test-stores
test-stores: $(SETUP) ## Run the suite of all stores on real servers of GCS and others (skipped where there is none)
	$(UV) sync --quiet --frozen --inexact --python $(PYTHON) --group stores
	@command -v npm >/dev/null && { test -e build/stores/node_modules/.bin/azurite-blob || { mkdir -p build/stores \
		&& echo "setting up: Azurite, from npm, into build/stores (190 MB)" && npm install --silent --no-audit --no-fund --prefix build/stores azurite; }; } \
		|| echo "no npm, so no Azurite: what needs it is skipped"
	PYTHON=$(PYTHON) $(BIN)/python -m raycache.testing.stores.hadoop_setup
	$(BIN)/python -m pytest tests/contract -m long -rs

test-browser: $(SETUP) browser ## Run the tests of the dashboard in a real Chromium
	$(BIN)/python -m pytest tests/browser -rs

screenshots: $(SETUP) browser ## Make docs/images anew, in a real Chromium
	$(BIN)/python -m tests.browser.screenshots

browser:
	@command -v chromium chromium-browser google-chrome >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& echo "setting up: Chromium, from Debian's packages" && apt-get -qq update \
		&& DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium fonts-dejavu-core >/dev/null; } \
		|| echo "no Chromium, and it cannot be installed here: what needs it is skipped"

check: $(SETUP) ## Check lint, format, types and layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

docs: $(SETUP) ## Build the docs site into build/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(SETUP) ## Rewrite the sources in the project's format
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

bench: $(BENCH) ## Run the benchmark of reading, side by side with its rivals, in short
	$(BIN)/python -m benchmarks reading $(ARGS)

bench-full: $(BENCH) ## Run the same on more data, in more rounds, and epochs of parquet on three nodes
	$(BIN)/python -m benchmarks reading epochs --full --rounds 5 $(ARGS)

.PHONY: bench-cached
bench-cached: $(SETUP) ## Run the benchmark of datasets cached after their transforms (ARGS=--full: 10,000 images)
	$(BIN)/python -m benchmarks cached $(ARGS)

bench-docs: $(SETUP) ## Put what the benchmarks measured last into docs/measured.md, and four figures of it into README.md
	$(BIN)/python -m benchmarks.measured

bench-endpoint: $(SETUP) ## Run the benchmark of the S3 endpoint: beside an S3 server, scans, a loader with forked workers (polars, into .venv)
	$(UV) sync --quiet --frozen --inexact --python $(PYTHON) --group clients
	$(BIN)/python -m benchmarks endpoint $(ARGS)

bench-epochs-large: $(SETUP) ## Measure epochs over datasets that are larger than the cache (about half an hour)
	$(BIN)/python -m benchmarks epochs-large $(ARGS)

.PHONY: bench-hosts
bench-hosts: $(SETUP) ## Run the benchmark of epochs on three hosts with links of their own (ARGS="--mbit 100 400 1000": of several speeds)
	$(BIN)/python -m benchmarks hosts $(ARGS)

bench-load: $(SETUP) ## Run the benchmark of warm-ups: bytes and requests, rate, memory, kills, faults
	$(BIN)/python -m benchmarks load $(ARGS)

bench-locality: $(SETUP) ## Run the benchmark of placement: local shares, windows, adverse cases, overhead
	$(BIN)/python -m benchmarks locality $(ARGS)

bench-overhead: $(SETUP) ## Run the benchmark of what counting, tagging and exporting cost
	$(BIN)/python -m benchmarks overhead $(ARGS)

bench-parquet: $(SETUP) ## Run the benchmark of Ray's own reader of parquet: shares, first batch, epochs, planning of many files
	$(BIN)/python -m benchmarks parquet $(ARGS)

bench-scale: $(SETUP) ## Run the benchmark of the control plane: a thousand workers, a worker with millions of files, restarts
	$(BIN)/python -m benchmarks scale scale-steps scale-worker $(ARGS)

bench-sync: $(SETUP) ## Run the benchmark of sync and of the cache map: a changed lake, a million objects, the next cluster
	$(BIN)/python -m benchmarks sync $(ARGS)

sim: $(SETUP) ## Run the seeded simulation, SEEDS=10000 for the long run
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) $(ARGS)

mutants: $(SETUP) ## Plant some eighty faults in copies of the sources, one by one: the tests must catch each
	$(BIN)/python -m tests.mutants $(ARGS)

clean: ## Remove everything that was installed or made
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
