# `make run`: set up, then train on 2 simulated nodes with 8 ranks.  `make help` lists the rest.

PYTHON ?= python3
TORCH  ?= torch==2.13.0
VENV   ?= .venv
BIN    := $(VENV)/bin
CODE   := src tests examples ui/build.py hatch_build.py $(wildcard benchmarks)

# Each stamp stands for one finished step of the set-up, so that a second call takes no time.
MADE      := $(VENV)/.stamp-made
TORCHED   := $(VENV)/.stamp-torch
INSTALLED := $(VENV)/.stamp-installed
DEVELOPS  := $(VENV)/.stamp-develops
UI        := src/opengrid/_ui/index.html

UI_SOURCES := ui/build.py ui/index.html ui/openapi.json ui/package.json ui/package-lock.json ui/tsconfig.json ui/vite.config.ts \
              $(shell find ui/src ui/public -type f ! -name schema.d.ts ! -name '*.test.ts')

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup ui ui-if-possible api-types run test test-full check format bench chaos clean distclean
.DEFAULT_GOAL := help

help:
	@echo "make run        set up, then train examples/torch_elastic_vae.py on 2 nodes with 8 ranks"
	@echo "make test       set up, then all tests but the long ones"
	@echo "make test-full  the long tests"
	@echo "make check      style, types and layers"
	@echo "make format     put the code into the one format"
	@echo "make bench      measure, side by side with torchrun"
	@echo "make chaos      kill what carries a training, FAULTS=$(FAULTS) times, and check its result"
	@echo "make ui         build the web UI of ui/"
	@echo "make api-types  after a change of the API: its document, and the types that the page and the client have of it"
	@echo "make setup      only the set-up: $(VENV) with $(TORCH), OpenGrid and its development tools (\`make run\` needs none of them)"
	@echo "make clean      remove caches and build outputs (distclean: also .venv)"
	@echo "Variables: PYTHON=$(PYTHON) (3.10 or newer), TORCH='$(TORCH)', VENV=$(VENV)"

setup: $(DEVELOPS)

run: $(INSTALLED)
	@$(MAKE) --no-print-directory ui-if-possible
	@examples/quickstart.sh $(BIN)

# 2 or more share the tests out among processes; they need processors to themselves.
WORKERS ?= 0
test: setup
	@$(MAKE) --no-print-directory ui-if-possible
	$(BIN)/pytest -m "not full" -n $(WORKERS) --no-loadscope-reorder

# pytest exits with 5 when no test carries the mark: then there is nothing to do.
test-full: setup
	@$(MAKE) --no-print-directory ui-if-possible
	$(BIN)/pytest -m full || [ $$? -eq 5 ]

check: setup
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

bench: setup
	$(BIN)/python -m benchmarks

FAULTS ?= 200
chaos: setup
	$(BIN)/python -m tests.support.chaos --faults $(FAULTS)

clean:
	rm -rf build dist src/opengrid/_ui ui/dist ui/screenshots .pytest_cache .hypothesis .ruff_cache .import_linter_cache examples/lightning_logs
	find src tests examples benchmarks ui/*.py -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv examples/stl10 ui/node_modules

$(MADE):
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON): not found. Install Python 3.10 or newer, or say make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$$($(PYTHON) -V) is too old: OpenGrid needs 3.10 or newer. Say make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2> /dev/null || { echo "$(PYTHON) has no venv. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@touch $@

ui: $(UI)

# The command line and the API need no web UI: without npm's registry, what needs none of it goes on.
ui-if-possible:
	@$(MAKE) --no-print-directory ui || echo "Going on without the web UI: \`make ui\` tries again."

api-types: setup
	$(BIN)/python -m opengrid.server.openapi > ui/openapi.json.new && mv ui/openapi.json.new ui/openapi.json
	$(BIN)/python -m opengrid.server.typed_dicts > documents.new && mv documents.new src/opengrid/client/documents.py

# torch comes first and alone: nothing that follows may choose another one.
$(TORCHED): $(MADE)
	$(if $(TORCH),$(BIN)/python -m pip install $(TORCH))
	@$(BIN)/python -c 'import torch' || { echo "$(VENV) has no torch, and TORCH is empty"; exit 1; }
	@touch $@

$(INSTALLED): $(TORCHED) pyproject.toml
	OPENGRID_WITHOUT_UI=1 $(BIN)/python -m pip install -e '.[example]'
	@touch $@

# What this installs is also all that $(INSTALLED) stands for.
$(DEVELOPS): $(TORCHED) pyproject.toml
	OPENGRID_WITHOUT_UI=1 $(BIN)/python -m pip install -e '.[dev,example]'
	@touch $(INSTALLED) $@

# Node comes from PyPI where PATH has none that is new enough.
$(UI): $(UI_SOURCES) | $(MADE)
	@$(BIN)/python ui/build.py --has-node || $(BIN)/python -m pip install "$$($(BIN)/python ui/build.py --node-package)"
	$(BIN)/python ui/build.py
