# Holdfast. `make` lists what there is. Everything runs in .venv, which the first target that needs it creates.

PYTHON_CANDIDATES = $(PYTHON) python3.13 python3.12 python3.14 python3.11 python3 python
VENV = .venv
RUN = $(VENV)/bin/python
INSTALLED = $(VENV)/.installed
PIP = $(RUN) -m pip --disable-pip-version-check --no-input
UV ?= uv
TEST_PROCESSES ?= 4
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-config --upgrade

.DEFAULT_GOAL := help
.PHONY: help up test check format bench faults soak hostile lock clean

help: ## list the targets
	@echo "Holdfast: make TARGET, where TARGET is"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1|\2/p' Makefile | while IFS='|' read -r name text; do \
		printf '%-10s %s\n' "$$name" "$$text"; done

up: $(INSTALLED) ## run everything: servers, API, jobs; a demo sale at first; until Ctrl-C
	@$(RUN) -m cli.main up

test: $(INSTALLED) ## run the tests
	@$(RUN) -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile

check: $(INSTALLED) ## formatting, lint, types and the one-way imports between the rooms
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports

format: $(INSTALLED) ## rewrite the sources as `check` wants them
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

bench: $(INSTALLED) ## measure it beside other designs, against its targets: about 7 minutes, report in .bench
	@$(RUN) -m cli.main bench all

faults: $(INSTALLED) ## break the whole system under load and check every answer: about a minute; SECONDS= SEED=
	@$(RUN) -m tests.faults --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED))

soak: $(INSTALLED) ## the same for 15 minutes, so that every fault comes many times; SECONDS= SEED=
	@$(RUN) -m tests.faults --seconds $(or $(SECONDS),900) $(if $(SEED),--seed $(SEED))

hostile: $(INSTALLED) ## tens of thousands of hostile requests; part of `test` in a shorter form
	@HOLDFAST_HOSTILE_EXAMPLES=150 $(RUN) -m pytest tests/hostile --numprocesses 2 --dist loadfile

lock: ## pin the newest versions that pyproject.toml allows (needs uv)
	$(COMPILE) --group build --output-file requirements-build.lock
	$(COMPILE) pyproject.toml --all-extras --output-file requirements.lock
	$(COMPILE) pyproject.toml --constraint requirements.lock --output-file requirements-runtime.lock

clean: ## remove .venv and all caches; the data in .holdfast stays
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# crontab, which rq-scheduler needs, is published as source only: the locked setuptools comes first and builds it.
$(INSTALLED): pyproject.toml requirements.lock requirements-build.lock
	@$(RUN) -c 'import pip' 2>/dev/null || { \
		rm -rf $(VENV); \
		without=""; \
		for candidate in $(PYTHON_CANDIDATES); do \
			"$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null || continue; \
			if ! "$$candidate" -c 'import ensurepip, venv' 2>/dev/null; then without="$$without $$candidate"; continue; fi; \
			echo "Creating $(VENV) with $$("$$candidate" --version)"; \
			"$$candidate" -m venv $(VENV) && exit 0; \
			rm -rf $(VENV); \
		done; \
		if [ -n "$$without" ]; then \
			echo "Python is here ($${without# }) but without ensurepip: install its venv package," \
				"on Debian and Ubuntu: apt install python3-venv" >&2; \
		else \
			echo "No working Python 3.11 to 3.14 found; install one, or name it: make up PYTHON=/path/to/python3" >&2; \
		fi; \
		exit 1; }
	@echo "Installing the locked requirements into $(VENV)"
	@$(PIP) install --quiet --require-hashes -r requirements-build.lock
	@$(PIP) install --quiet --require-hashes --no-build-isolation -r requirements.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $(INSTALLED)
