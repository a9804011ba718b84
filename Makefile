# Scrip. `make` lists the targets; each one sets up first what it needs and has not got.
SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help setup extras demo test check prove bench format clean distclean

# The first Python that is new enough; if there is none, python3 itself, so that the set-up can name its version.
ifndef PYTHON
PYTHON := $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 ""; do \
	if [ -z "$$p" ]; then command -v python3 || command -v python; \
	elif "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then command -v "$$p"; break; fi; done)
endif
VENV := .venv/bin
export SOLCX_BINARY_PATH := $(CURDIR)/.solcx

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: ## install pinned packages and the compiler, compile the contracts, export their ABIs
	@if [ -z "$(PYTHON)" ]; then \
		echo "[setup] Python is missing: install Python 3.11 or newer (Debian: apt-get install python3 python3-venv)" >&2; \
		exit 1; fi
	@"$(PYTHON)" -m scripts.setup

demo: setup ## run the whole story on a local chain; KEEP=1 leaves it up and prints the URLs
	@$(VENV)/python -m demo.cli --all $(if $(KEEP),--keep)

test: setup ## run forge's tests, then the Python ones: gpu, unit, integration, e2e
	@$(VENV)/python -m scripts.gate test

check: setup ## formatting, lint, types, layering, freshness of the exported ABIs, gas within 1 % of bench/gas.json
	@$(VENV)/python -m scripts.gate check

extras: setup ## make the environments of tools that some tests compare with; without them those tests are skipped
	@$(VENV)/python -m scripts.setup.extra

prove: setup ## prove and attack the contracts: SCALE=quick takes minutes, full (the default) a night, a number what it says
	@SCALE="$(SCALE)" $(VENV)/python -m scripts.prove

bench: setup ## measure gas and write bench/gas.json
	@$(VENV)/python -m bench

format: setup ## format the sources
	@$(VENV)/ruff format scrip oracle agents demo scripts tests $(wildcard bench)
	@$(VENV)/ruff check --fix scrip oracle agents demo scripts tests $(wildcard bench)
	@$(VENV)/forge fmt

clean: ## remove what compiling and testing made
	rm -rf build abi/dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find scrip oracle agents demo scripts tests bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## remove what the set-up installed as well
	rm -rf .venv .extras node_modules .solcx .brownie-home
