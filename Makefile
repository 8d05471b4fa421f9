PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Stages run as `python -m stages.NAME`: it has to be the python of .venv.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: repro test lint install

repro: install  ## install, then run the pipeline
	$(BIN)/dvc repro

test: install  ## all tests
	$(BIN)/python -m pytest

lint: install  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: $(VENV)/.installed

# requirements.txt pins every version, so that an unchanged file needs no new installation.
$(VENV)/.installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --requirement requirements.txt
	touch $@
