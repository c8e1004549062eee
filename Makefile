# Needs only make and Python 3.11, 3.12 or 3.13. Everything is installed into $(VENV), once.
#
#   make demo PYTHON=python3.12              choose the interpreter of a new environment
#   make test ARGS="tests/fits -k glm"       choose the tests
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
#                                            a smaller PyTorch without CUDA (Linux)
#   make demo PIP_FLAGS=                     show what pip does

PYTHON ?=
VENV ?= .venv
ARGS ?=
PIP_FLAGS ?= --quiet
TORCH_INDEX ?=

# The recordings the bundled sample and some tests come from: used where they lie next to the clone.
ifeq ($(strip $(NEUROMODELS_DATA)),)
ifneq ($(wildcard ../shared/data/.),)
export NEUROMODELS_DATA := $(CURDIR)/../shared/data
endif
endif

PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
STAMP := $(VENV)/.installed
# Packages that the benchmarks compare with have an environment of their own.
PEERS_VENV ?= .venv-peers
PEERS := $(PEERS_VENV)/.installed
IS_SUPPORTED := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench reproduce
.DELETE_ON_ERROR:

help:  ## Show this list
	@echo "make TARGET, where TARGET is one of"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-12s %s\n", $$1, $$2 }'

demo: $(STAMP)  ## Fit LN, GLM and retina CNN to the bundled recording and compare them (5 min)
	@$(VENV)/bin/neuromodels demo --out results/demo.h5 --figures results/demo --overwrite

test: $(STAMP)  ## Run the tests, without the slow ones
	@OMP_NUM_THREADS=1 $(VENV)/bin/pytest -n auto --dist loadfile $(ARGS)

lint: $(STAMP)  ## Check for unused code and for format
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .

bench: $(STAMP) $(PEERS)  ## Time fits and spiking networks beside peers', and print the figures
	@$(VENV)/bin/python tests/benchmarks/bench_glm.py --tolerance 1e-7 --peer-python $(PEERS_VENV)/bin/python $(ARGS)
	@$(VENV)/bin/python tests/benchmarks/bench_superspike.py
	@$(VENV)/bin/python tests/benchmarks/bench_surrogate.py --peer-python $(PEERS_VENV)/bin/python

reproduce: $(STAMP)  ## Repeat the simulations and long fits behind the documented numbers (slow tests)
	@$(VENV)/bin/pytest -m slow $(ARGS)

# pytest and neuromodels are called as scripts: `python -m pytest` puts the folder on sys.path and
# would import the rooms a second time under the names of their folders.
$(STAMP): setup.cfg pyproject.toml constraints.txt
	@if ! $(VENV)/bin/python -c '$(IS_SUPPORTED)' 2>/dev/null || ! $(PIP) --version >/dev/null 2>&1; then \
	  python=; clear=; \
	  for candidate in $(if $(PYTHON),"$(PYTHON)",python3 python3.13 python3.12 python3.11 python); do \
	    if "$$candidate" -c '$(IS_SUPPORTED)' 2>/dev/null; then python="$$candidate"; break; fi; \
	  done; \
	  if [ -z "$$python" ]; then \
	    echo "neuromodels needs Python 3.11, 3.12 or 3.13 with venv and pip; $(if $(PYTHON),$(PYTHON) is none,none was found)." >&2; \
	    echo "  Install one (python.org; Debian and Ubuntu: apt install python3-venv), or name it: make PYTHON=/path/to/python3.12" >&2; \
	    exit 1; \
	  fi; \
	  if [ -f $(VENV)/pyvenv.cfg ]; then clear=--clear; fi; \
	  "$$python" -m venv $$clear $(VENV); \
	fi
	@echo "environment    $(VENV), $$($(VENV)/bin/python --version): installing PyTorch (once, some minutes)"
	@$(PIP) install $(PIP_FLAGS) -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	@echo "environment    $(VENV): installing neuromodels and what it needs"
	@$(PIP) install $(PIP_FLAGS) -c constraints.txt -e ".[test,lint]"
	@touch $@
	@echo "environment    $(VENV): done"

$(PEERS): $(STAMP)
	@echo "environment    $(PEERS_VENV): installing NeMoS, spyx and Norse to compare with (once)"
	@$(if $(PYTHON),"$(PYTHON)",$(VENV)/bin/python) -m venv $(PEERS_VENV)
	@$(PEERS_VENV)/bin/python -m pip install $(PIP_FLAGS) -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	@$(PEERS_VENV)/bin/python -m pip install $(PIP_FLAGS) nemos spyx==1.0.0 norse "$$(grep '^torch==' constraints.txt)"
	@touch $@
