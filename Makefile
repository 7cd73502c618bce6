# Everything a person or CI runs. `make help` lists it.
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo test check fmt lint types layers generated contracts-check gen bench bench-log drill-chain lock clean
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
# Rows of the demo's source: weifang (about 8,000) or all (620,573).
ROWS ?= weifang
# The chain that the demo runs on: a folder of network_configs that says how to start it.
NETWORK ?= embedded
TEST ?= tests
# How often each fault strikes each kind of request in the drill.
EACH ?= 40

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1 - /'

setup:  ## install what the product needs into .venv and node_modules
	@$(PYTHON) scripts/set_up.py

setup-dev:
	@$(PYTHON) scripts/set_up.py --dev

demo: setup  ## run one whole exchange between three departments (ROWS=all for the whole country, NETWORK=clique or avalanche for several validators)
	@$(BIN)/python -m scripts.demo --rows $(ROWS) --network $(NETWORK)

test: setup-dev  ## run the tests (TEST=path for some of them)
	@$(BIN)/python -m pytest $(TEST)

check: setup-dev lint types layers generated contracts-check test  ## everything CI runs

fmt: setup-dev  ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lint:
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@node_modules/.bin/buf lint proto

types:
	@$(BIN)/mypy .

layers:
	@$(BIN)/lint-imports

generated:
	@$(BIN)/python -m scripts.generate_proto --check
	@$(BIN)/python -m scripts.reasons --check

contracts-check:
	@$(BIN)/python -m contracts.build --check

gen: setup-dev  ## write generated code, contract artifacts, their gas and the table of reasons anew
	@$(BIN)/python -m scripts.generate_proto
	@$(BIN)/python -m contracts.build
	@$(BIN)/python -m tests.contracts.gas_table
	@$(BIN)/python -m scripts.reasons

bench: setup-dev  ## measure, and write docs/benchmarks.md (ONLY=subject prints one table)
	@$(BIN)/python -m scripts.bench $(if $(ONLY),--only $(ONLY))

bench-log: setup-dev  ## measure the log alone, and Tessera beside it (ARGS="--only subject" prints one table)
	@$(BIN)/python -m scripts.bench_log $(ARGS)

drill-chain: setup-dev  ## kill a node at every step of an anchor, and strike its line to the chain with every fault (EACH=40: so often; minutes)
	@KITELINE_DRILL=$(EACH) $(BIN)/python -m pytest -v tests/integration/test_chain_kills.py tests/integration/test_chain_faults.py

lock: setup-dev  ## write the lock files anew
	@$(BIN)/python scripts/lock.py

clean:  ## remove what was installed and built
	@rm -rf .venv node_modules .kiteline
