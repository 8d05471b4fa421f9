PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Stages run as `python -m stages.NAME`: it has to be the python of .venv.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help repro audit organisms explore push-verified test lint install

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

repro: install  ## install, then run the pipeline
	$(BIN)/dvc repro

audit: install  ## install, then run the audits of audit/params.yaml
	$(BIN)/dvc repro audit/dvc.yaml

organisms: install  ## install, then train, audit and count model organisms: hours
	$(BIN)/dvc --cd organisms repro

explore: install  ## a page on this machine: what the recovered reward makes of texts of yours
	$(BIN)/python -m inverse_rlhf.explore

push-verified: install  ## dvc push, and see that every object has arrived whole
	$(BIN)/python -m inverse_rlhf.push

test: install  ## all tests, two files at a time
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: install  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: $(VENV)/.installed .dvc/plots.html  ## the packages, into .venv, and the page of dvc plots

# They pin every version, so that unchanged files need no new installation.
$(VENV)/.installed: requirements.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --requirement requirements-dev.txt
	touch $@

# The page of `dvc plots`, scripts inside: DVC's own loads them from the network. DVC is told in
# .dvc/config.local, here and not in git, since it fails where the page it is told of is missing.
.dvc/plots.html: $(VENV)/.installed inverse_rlhf/show/plots_page.py inverse_rlhf/show/templates/plots.html
	$(BIN)/python -m inverse_rlhf.show.plots_page $@
	$(BIN)/dvc config --local plots.html_template plots.html
	$(BIN)/dvc --cd organisms config --local plots.html_template ../../.dvc/plots.html
