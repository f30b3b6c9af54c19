# tideline: `make help` lists what there is to do.
TASK ?= housing
PORT ?= 3000
PYTHON ?= python3.11
GPU ?= 0

export DVC_NO_ANALYTICS = 1
export DO_NOT_TRACK = 1
export BENTOML_DO_NOT_TRACK = True
export PREFECT_SERVER_ANALYTICS_ENABLED = false
export TF_CPP_MIN_LOG_LEVEL = 3
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup run serve demo up down test test-slow check bench clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12
	@echo "variables   TASK=$(TASK) PORT=$(PORT) PYTHON=$(PYTHON) GPU=$(GPU)"

setup:  ## the virtual environment in .venv, with exact pins (the others call it)
	@PYTHON=$(PYTHON) GPU=$(GPU) bash infra/setup.sh

run: setup  ## the whole graph for TASK, promotion, a real request to a real server
	@python -m pipelines.main_job $(TASK)

serve: setup  ## the champion of TASK over HTTP on PORT
	@python -m serving --task $(TASK) --port $(PORT)

up: setup  ## the platform: Prefect, deployments, predictions, Evidently, one page (ARGS="--task housing --port page=4100")
	@python -m pipelines.platform $(ARGS)

demo: setup  ## the loop closes on real drift: two months of bikes through a server, an alarm, a retraining, a new champion
	@mkdir -p .tideline/demo && python -m benchmarks.loop --months 2 --policies frozen ours --picture .tideline/demo/loop.svg

down: setup  ## stop the platform
	@python -m pipelines.platform --down

test: setup  ## the tests
	@python -m pytest -n 2 -m "not slow"

test-slow: setup  ## the long tests: the whole graph, memory bounds, killed processes
	@python -m pytest -n 2 --dist loadfile -m slow

check: setup  ## style, types, layers
	@ruff check . && ruff format --check . && mypy && lint-imports

bench: setup  ## the figures that the README states
	@python -m benchmarks.graph $(TASK) && python -m benchmarks.inference models/$(TASK)/bundle && python -m benchmarks.serving --task $(TASK)

clean:  ## what the graph makes (not .venv, registry, labelled snapshots, quarantine, data/external, drift reports)
	rm -rf data/*/raw data/*/validation data/*/split data/*/preparation data/*/features work models .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
