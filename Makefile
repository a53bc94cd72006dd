SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
VENV := .venv
INSTALLED := $(VENV)/.installed
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	if $$p -c "$(SUPPORTED)" >/dev/null 2>&1; then echo $$p; break; fi; done)

.PHONY: help book test lint format clean
help: ## print this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

book: $(INSTALLED) ## run every notebook and build the book
	$(VENV)/bin/lemmse book --preset quick

test: lint ## lint, unit and property tests, every notebook, the book, the wheel
	$(VENV)/bin/python -m pytest

lint: $(INSTALLED) ## style, layers of imports, types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/mypy

format: $(INSTALLED) ## format the code
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean: ## remove the built book and the executed notebooks, not the trained weights
	rm -rf build book/_build book/notebooks book/_generated book/_static/try/data

$(INSTALLED): pyproject.toml constraints.txt
	@"$(PYTHON)" -c "$(SUPPORTED)" 2>/dev/null || \
		{ echo "lemmse needs Python 3.11, 3.12 or 3.13, but none was found: install one, or name it, as in make PYTHON=/path/to/python $(MAKECMDGOALS)" >&2; exit 2; }
	@echo "installing into $(VENV): this takes a few minutes"
	"$(PYTHON)" -m venv $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[book,test]'
	touch $@
