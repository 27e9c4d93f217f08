# Every target is safe to run twice; what a target made is remade only when an input changed.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

DATASET ?= ml-100k
DATA    ?= data/raw/$(DATASET)
RECIPE  ?= retrieval
# What is made of a folder of your own is kept apart by the folder's whole path.
OWN     := $(if $(filter data/raw/%,$(DATA)),,-$(shell echo '$(abspath $(DATA))' | cksum | cut -d' ' -f1))
NAME    := $(notdir $(patsubst %/,%,$(DATA)))$(OWN)-$(basename $(notdir $(RECIPE)))
RUN     ?= runs/$(NAME)
STORE   ?= store/$(NAME)
# A space parts words for make as for the shell.
$(foreach name,DATA RECIPE RUN STORE,$(if $(filter 1,$(words $($(name)))),,\
  $(error $(name) must be a path without spaces, got "$($(name))"; rename it or link to it)))
PORT    ?= 50051
RATE    ?= 100
SECONDS := 10

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON  ?= $(shell for python in python3 python3.11 python3.12 python3.13 python; do \
             $$python -c '$(SUPPORTED)' 2>/dev/null && echo $$python && break; done)
BIN     := .venv/bin
PY      := $(BIN)/python
sources  = $(sort $(shell find $(1) -name '*.py'))
TABLES  := $(if $(filter data/raw/%,$(DATA)),$(DATA)/ratings.csv,$(wildcard $(DATA)/*))
CODE    := $(call sources,data trainer indexer server) $(wildcard trainer/recipes/*)
STUBS   := proto/deepmoviematch/v1/recommender_pb2.py

##@ Start here
.PHONY: demo test help
demo: setup  ## Fetch, train, index, serve and ask three questions, from nothing.
	@$(MAKE) --no-print-directory index
	@$(PY) -m deepmoviematch.server demo --store $(STORE)

test: setup  ## Run the tests (ARGS=... goes to pytest).
	@$(PY) -m pytest $(or $(ARGS),-q)

help:  ## Show this list.
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Run
.PHONY: fetch train index serve loadtest
fetch: $(TABLES)  ## Download the ratings (DATASET=ml-100k, ml-latest-small, ml-1m, ml-25m, ml-32m).
train: $(RUN)/manifest.json  ## Fit the two towers (DATA=folder for your own ratings, RECIPE=retrieval or seed).
index: $(STORE)/CURRENT  ## Build a generation from the run and publish it (FORCE=1 if it is clearly worse, too).
serve: $(STORE)/CURRENT  ## Serve the current generation (DATA=folder of your own ratings, PORT=50051).
	@$(PY) -m deepmoviematch.server serve --store $(STORE) --port $(PORT)

loadtest: $(TABLES)  ## Ask a running server at a steady rate, check it (DATA=its folder, PORT=50051, RATE=100, SECONDS=10).
	@$(PY) -m deepmoviematch.server loadtest --at 127.0.0.1:$(PORT) --data $(DATA) \
	  --rate $(RATE) --seconds $(SECONDS) --png loadtest.png

data/raw/%/ratings.csv: | setup  # your own DATA is taken as it is
	@$(PY) -m deepmoviematch.data fetch --dataset $* --out $(@D)

$(RUN)/manifest.json: $(TABLES) $(call sources,data trainer) $(wildcard $(filter %.toml,$(RECIPE)) trainer/recipes/$(RECIPE).toml) | setup
	@$(PY) -m deepmoviematch.trainer fit --data $(DATA) --recipe $(RECIPE) --out $(RUN)

$(STORE)/CURRENT: $(RUN)/manifest.json $(call sources,indexer) | setup
	@$(PY) -m deepmoviematch.indexer build --run $(RUN) --store $(STORE) $(if $(FORCE),--force)

##@ Develop
.PHONY: setup check bench lock clean
setup: .venv/.installed  ## Make .venv from the lock and generate the gRPC stubs.

check: setup  ## Lint, format, types, import directions, spelling.
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/typos

bench: $(STORE)/CURRENT  ## Measure speed, start, memory and growth (minutes; needs h2load); writes runs/bench.
	@$(PY) -m tests.bench.floor --store $(STORE) --json runs/bench/floor.json
	@$(PY) -m tests.bench.batch --store $(STORE) --json runs/bench/batch.json
	@$(PY) -m tests.bench.recommend_all --store $(STORE) --data $(DATA) --json runs/bench/recommend_all.json
	@$(PY) -m tests.bench.start --store $(STORE) --json runs/bench/start.json
	@$(PY) -m tests.bench.scale --sizes 1700 10000 100000 --json runs/bench/scale.json
	@$(PY) -m tests.bench.served --sizes 10000 100000 --json runs/bench/served.json
	@$(PY) -m tests.bench.pages --json runs/bench/pages.json
	@$(PY) -m tests.bench.alternatives --store $(STORE) --json runs/bench/alternatives.json

.venv/.locked: requirements.lock
	@test -n "$(PYTHON)" || { echo "needs Python 3.11, 3.12 or 3.13 on the PATH; or say make PYTHON=..."; exit 1; }
	@echo "making .venv from requirements.lock (TensorFlow is the most of it)"
	@$(PYTHON) -m venv .venv
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes -r $<
	@touch $@

# A strict editable install links file by file, so it goes stale when a module joins or leaves.
.venv/.modules: .venv/.locked FORCE
	@echo '$(CODE)' | cmp --silent - $@ || echo '$(CODE)' > $@

.PHONY: FORCE
FORCE:

.venv/.installed: .venv/.modules pyproject.toml setup.py $(STUBS:_pb2.py=.proto)
	@rm -rf build .mypy_cache
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
	  --config-settings editable_mode=strict --editable .
	@touch $@

lock: setup  ## Resolve requirements.lock anew from pyproject.toml.
	@$(PY) -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --no-annotate --upgrade --all-extras --group dev pyproject.toml --output-file requirements.lock

clean:  ## Remove what make made, except downloads, runs and the store.
	@rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find proto -name '*_pb2*' -delete
