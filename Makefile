# Perennial. Plain `make` lists what it can do. Everything it makes is below PERENNIAL_HOME (.perennial).
SHELL := /bin/bash -euo pipefail
.DEFAULT_GOAL := help
.PHONY: help setup pictures notebook demo up down status test check check-format check-lint check-types check-contracts check-documents format add-model add-dataset docs capabilities lock images kubernetes chart check-chart mutants check-mutants check-projects format-projects

export PERENNIAL_HOME ?= $(CURDIR)/.perennial
PYTHON ?= $(or $(shell command -v python3.11),$(shell command -v python3))
VENVS := $(PERENNIAL_HOME)/venvs
TOOLS := $(VENVS)/tools/bin
PERENNIAL := $(PERENNIAL_HOME)/bin/perennial

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | awk -F'|' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: ## make the environments from the lock files (minutes the first time, nothing the second)
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 is needed: install python3.11 (with its venv module), or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" include/perennial/local/environments.py

demo: setup ## tell the whole story with real DAG runs, and leave the platform up
	@"$(PERENNIAL)" demo

pictures: setup ## take the README's pictures of the console, on the store that the demo left (STORE= names another)
	@"$(TOOLS)/python" tests/pictures.py "$(or $(STORE),$(PERENNIAL_HOME)/demo/store)"

notebook: setup ## run docs/notebook.ipynb again and write what its cells print
	@PYTHONPATH=tests "$(VENVS)/workload/bin/python" tests/notebook.py

up: setup ## start the platform: Airflow with console and reports, MLflow, gateway
	@"$(PERENNIAL)" up

down: ## stop what `make up` or `make demo` started, and nothing else
	@"$(PERENNIAL)" down

status: ## show what runs
	@"$(PERENNIAL)" status

test: setup ## run every test that this machine can (TESTS="unit", "integration", "e2e", or "project" for PERENNIAL_PROJECT's)
	@"$(TOOLS)/python" tests/run.py $(TESTS)

kubernetes: export PERENNIAL_TEST_IMAGES ?= $(if $(REGISTRY),$(REGISTRY)/)perennial/{}:$(or $(TAG),dev)
kubernetes: setup ## run the tests on the cluster of KUBECONFIG (BUILD=1 REGISTRY=host:port builds the images and pushes them there first)
	@if [ -n "$(BUILD)" ]; then $(MAKE) --no-print-directory images PUSH=1 TAG="$(or $(TAG),dev)" REGISTRY="$(REGISTRY)"; fi
	@"$(TOOLS)/python" tests/run.py kubernetes

check: setup ## format, lint, types, import contracts, generated documents, mutants of changed lines, projects of PERENNIAL_PROJECT, Helm chart (left out with a line where no helm can be had, unless CHART=required)
	@$(MAKE) --no-print-directory --keep-going -j2 --output-sync=target check-format check-lint check-types check-contracts check-documents check-mutants check-chart check-projects || \
		{ echo "make check found something: each line with Error above names its part, which can be run alone, like make check-lint." >&2; exit 1; }

check-format:
	@echo "== layout of the code"
	@"$(TOOLS)/ruff" format --check --quiet . || { echo "Run make format." >&2; exit 1; }

check-lint:
	@echo "== lint"
	@"$(TOOLS)/ruff" check .

check-types: # the environments have different versions of the same libraries: in one cache each run would undo the other's
	@echo "== types (minutes the first time)"
	@"$(TOOLS)/mypy" --python-executable "$(VENVS)/workload/bin/python" include/perennial include/perennial_models include/perennial_datasets
	@"$(TOOLS)/mypy" --python-executable "$(VENVS)/airflow/bin/python" --cache-dir .mypy_cache/airflow plugins/perennial_airflow dags

check-contracts:
	@echo "== import contracts"
	@PYTHONPATH=include:plugins "$(TOOLS)/lint-imports" --no-logo

check-documents:
	@echo "== generated documents"
	@"$(PERENNIAL)" docs --check
	@"$(TOOLS)/python" tests/capabilities.py --check

check-mutants:
	@echo "== mutants of changed lines"
	@"$(VENVS)/workload/bin/python" tests/mutants/run.py --changed

check-projects:
	@"$(TOOLS)/python" tests/projects.py check

format-projects:
	@"$(TOOLS)/python" tests/projects.py format

check-chart:
	@echo "== Helm chart"
	@"$(TOOLS)/python" tests/chart/check.py $(if $(CHART),,--if-possible)

chart: setup ## lint, render and validate the Helm chart (UPDATE=1 writes what it renders to as the new goldens)
	@"$(TOOLS)/python" tests/chart/check.py $(if $(UPDATE),--update)

mutants: setup ## change the modules that decide in small wrong ways: do their tests notice? (MODULES="canary promotion" for some)
	@"$(VENVS)/workload/bin/python" tests/mutants/run.py $(MODULES)

format: setup ## format the code and mend what ruff can mend
	@"$(TOOLS)/ruff" check --fix-only .
	@"$(TOOLS)/ruff" format .

add-model: setup ## write the files of a new model: make add-model NAME=churn ARGS="--dataset customers --label left --sample file.csv"
	@"$(PERENNIAL)" add model "$(NAME)" $(ARGS)

add-dataset: setup ## write the files of a new dataset: make add-dataset NAME=customers ARGS="--sample file.csv"
	@"$(PERENNIAL)" add dataset "$(NAME)" $(ARGS)

docs: setup ## write the documents that are made from the code and its tests
	@"$(PERENNIAL)" docs
	@"$(TOOLS)/python" tests/capabilities.py --write

capabilities: setup ## print what the platform owes, row by row, with the tests that show it (ROWS="DM-01 MO-13" for some)
	@"$(TOOLS)/python" tests/capabilities.py $(ROWS)

images: ## build the container images (IMAGES="workload serving" for some, VARIANT=cuda, REGISTRY=host PUSH=1; docs/images.md has all)
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 is needed: install python3.11, or name it: make images PYTHON=/path/to/python3.11" >&2; exit 1; }
	@BASE="$(BASE)" IMAGES="$(IMAGES)" IMAGE_BUILDER="$(IMAGE_BUILDER)" IMAGE_OPTIONS="$(IMAGE_OPTIONS)" PUSH="$(PUSH)" PUSH_OPTIONS="$(PUSH_OPTIONS)" REGISTRY="$(REGISTRY)" \
		TAG="$(TAG)" TORCH_INDEX="$(TORCH_INDEX)" VARIANT="$(VARIANT)" PYTHONPATH=include "$(PYTHON)" -m perennial.local.images

lock: setup ## compile every requirements.in into its lock file
	@"$(TOOLS)/python" include/perennial/local/environments.py lock
