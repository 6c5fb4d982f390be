# Two commands: `make demo` runs the product, `make test` passes its tests. `make` alone lists the targets.
.DEFAULT_GOAL := help
PORT ?= 8420
DATA ?= demo-data
PREFIX ?= $(HOME)/.local
LEVEL ?= ci
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export OPENBLAS_NUM_THREADS := 1

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 26
.PHONY: help

$(VENV)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Meterhall needs Python 3.11 or newer; this is {v.major}.{v.minor}. Try: make PYTHON=python3.12 ...")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "python3-venv is missing; install it: sudo apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV) && touch $@

$(VENV)/run: pyproject.toml constraints.txt | $(VENV)/python
	@echo "Installing Meterhall's packages into $(VENV) (once)..."
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable . && touch $@

$(VENV)/dev: $(VENV)/run
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]' && touch $@

demo: $(VENV)/run  ## run the whole product with simulators (PORT=8420 DATA=demo-data)
	@exec $(BIN)/meterhall demo --port $(PORT) --data $(DATA)

test: $(VENV)/dev  ## set up and pass the tests, in under two minutes
	@$(BIN)/pytest -n 2 -m "not slow and not browser"

browser: $(VENV)/dev  ## the page in a real Chromium
	@$(BIN)/pytest -n 2 -m browser

lint: $(VENV)/dev  ## style and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: $(VENV)/dev  ## put the code into its format
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format .

golden:  ## rewrite the expected files of golden cases; review the diff like code
	@$(BIN)/python -m tests.devices.test_modbus_golden

dashboards: $(VENV)/dev  ## write the Grafana dashboards; review the diff like code
	@$(BIN)/python -m grafana.build

bench: $(VENV)/dev  ## print this machine's figures
	@$(BIN)/python -m benchmarks

faults: $(VENV)/dev  ## break things on purpose: is anything lost, doubled or invented? (LEVEL=ci or full)
	@$(BIN)/python -m faults --level $(LEVEL)

bench-analytics: $(VENV)/dev  ## baselines and detectors beside their rivals
	@$(BIN)/python -m benchmarks.analytics

install:  ## install for good: PREFIX=/opt/meterhall; again upgrades in place
	@case "$(PREFIX)" in /*\ *|"") echo "PREFIX must be a folder without spaces"; exit 1;; /*) ;; *) echo "PREFIX must begin with /"; exit 1;; esac
	@$(PYTHON) -m venv "$(PREFIX)/lib/meterhall"
	@"$(PREFIX)/lib/meterhall/bin/pip" install --quiet --upgrade --constraint constraints.txt .
	@mkdir -p "$(PREFIX)/bin" && ln -sf "$(PREFIX)/lib/meterhall/bin/meterhall" "$(PREFIX)/bin/meterhall"
	@"$(PREFIX)/bin/meterhall" version

uninstall:  ## remove what install put there; data folders stay
	@case "$(PREFIX)" in /*\ *|"") echo "PREFIX must be a folder without spaces"; exit 1;; /*) ;; *) echo "PREFIX must begin with /"; exit 1;; esac
	@rm -rf "$(PREFIX)/lib/meterhall" "$(PREFIX)/bin/meterhall"
.PHONY: demo test browser lint format golden dashboards bench faults bench-analytics install uninstall
