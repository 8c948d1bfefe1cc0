# The commands people and CI use. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench bench-quality soak lock clean

BIN := .venv/bin
STAMP := .venv/installed
# Found in this order; a virtual environment that exists stays as it is.
PYTHONS ?= python3.11 python3.12 python3.13 python3.14 python3
SAY := @printf '\n\033[1m%s\033[0m\n'

help: ## show this list
	@printf 'Lookalike: index image collections, search them by picture, report duplicates.\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## make .venv with everything; at once when nothing has changed
	@:

$(STAMP): pyproject.toml constraints.txt
	@if [ ! -x $(BIN)/python ]; then \
		found=; \
		for python in $(PYTHONS); do \
			if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
		done; \
		[ -n "$$found" ] || { echo 'Python 3.11 or newer is needed, and none of these is: $(PYTHONS). Name yours: make setup PYTHONS=/path/to/python3' >&2; exit 1; }; \
		"$$found" -m venv .venv 2>/dev/null || { rm -rf .venv; echo "$$found cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }; \
	fi
	@echo 'installing into .venv (minutes the first time: torch is large)'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt torch torchvision -e '.[dev]'
	@touch $@
	@echo 'ready: $(BIN)/lookalike --help'

# --- demo: the sample collection, or `make demo PHOTOS=~/Pictures` --------------------------------
PHOTOS ?=
ifeq ($(PHOTOS),)
  DEMO_PHOTOS := demo/photos
  DEMO_STORE := demo/store
else
  # A shell leaves the ~ of an argument such as PHOTOS=~/Pictures alone.
  DEMO_PHOTOS := $(patsubst ~/%,$(HOME)/%,$(PHOTOS))
  # A store for each folder, so that two of them do not mix.
  DEMO_STORE := demo/store-$(shell printf %s '$(DEMO_PHOTOS)' | cksum | cut -d ' ' -f 1)
endif
LOOKALIKE := $(BIN)/lookalike --store $(DEMO_STORE)

demo: setup ## index pictures, search them, show their copies; your own: PHOTOS=~/Pictures
	@[ -n "$(PHOTOS)" ] || $(BIN)/python -m bench.sample_collection demo
	@[ -d "$(DEMO_PHOTOS)" ] || { echo '$(DEMO_PHOTOS) is no folder' >&2; exit 1; }
	$(SAY) 'Indexing $(DEMO_PHOTOS)'
	@$(LOOKALIKE) index "$(DEMO_PHOTOS)" || [ $$? = 3 ]
	@query=demo/query/astronaut-edited.jpg; \
	[ -z "$(PHOTOS)" ] || query=$$(find "$(DEMO_PHOTOS)" -type f \( -iname '*.jpg' -o -iname '*.jpeg' -o -iname '*.png' -o -iname '*.heic' -o -iname '*.webp' \) | LC_ALL=C sort | sed -n 1p); \
	[ -n "$$query" ] || { echo 'no pictures there' >&2; exit 1; }; \
	printf '\n\033[1mWhat looks like %s?\033[0m\n' "$$query"; \
	$(LOOKALIKE) search "$$query" -k 5
	$(SAY) 'Which are copies of each other?'
	@$(LOOKALIKE) dedup
	$(SAY) 'Go on'
	@echo 'the page:         $(LOOKALIKE) serve --open'
	@echo 'your own photos:  make demo PHOTOS=~/Pictures'

# --- checks ---------------------------------------------------------------------------------------
check: setup ## format, lint, types, direction of imports
	@$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --check .; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# Two at once, as much of a test goes to waiting for disks, databases and children. A worker that has run out takes what
# the other has left, so that the tests of a file mostly share its fixtures. One at a time, which --pdb and -s need:
# make test WORKERS=0
WORKERS ?= 2

# Threads that wait shall sleep, as in the program itself (api/__main__.py): the other worker has use for the core.
test: export OMP_WAIT_POLICY := PASSIVE
# OpenBLAS has no such policy: its threads spin beside every small product of matrices, and some tests took twice the
# work. `make soak` leaves it all cores.
test: export OPENBLAS_NUM_THREADS := 1
# Tests start hundreds of Python programs, which shall not compile everything again, whatever the environment says.
test: export PYTHONDONTWRITEBYTECODE :=
test: setup ## the tests; one of them: make test ARGS='-k mirrored'
	@$(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal $(ARGS)

soak: setup ## the tests that take hours: kills, power cuts, the container; less: SOAK_SCALE=.02, stop and go on: SOAK_SECONDS=600
	@$(BIN)/pytest -m slow $(ARGS)

# Pictures, checkpoints and weights lie in build/training; `make clean` removes them. Interrupted, or after 90
# minutes that were too short, the same command goes on.
.PHONY: train-builtin
train-builtin: setup ## train the built-in backbone from a seed, resumable; options: ARGS='--seed 1'
	@$(BIN)/python -m training.train_builtin --resume $(ARGS)

# One that fails or cannot be run here does not stop the others; the summary says which, and the exit code that one failed.
bench: setup ## the tables of docs/benchmarks.md; one of them: make bench BENCH=indexing_speed
	@$(BIN)/python -m bench.every_bench $(BENCH) $(if $(ARGS),-- $(ARGS))

bench-quality: setup ## how well edited copies are found (docs/quality.md), as quality.html; your own: PHOTOS=~/Pictures
	@photos="$(patsubst ~/%,$(HOME)/%,$(PHOTOS))"; \
	if [ -z "$$photos" ] && [ -d ../shared/photos ]; then photos=../shared/photos; fi; \
	$(BIN)/lookalike quality $${photos:+"$$photos"} --html quality.html $(ARGS)

# --- upkeep ---------------------------------------------------------------------------------------
# torch and torchvision stay unless named: a newer one is gigabytes, and every measurement here was made with these.
TORCH ?= $(shell sed -n -E '/^torch(vision)?==/p' constraints.txt)

lock: setup ## renew constraints.txt; torch too: TORCH='torch==2.14.0 torchvision==0.29.0'
	@report=$$(mktemp); trap 'rm -f "$$report"' EXIT; \
	$(BIN)/python -m pip install -qq --disable-pip-version-check --dry-run --ignore-installed --report "$$report" $(TORCH) -e '.[dev,postgres]'; \
	{ sed -n '/^#/p' constraints.txt; \
	$(BIN)/python -c 'import json, sys; found = [item["metadata"] for item in json.load(open(sys.argv[1]))["install"]]; print("\n".join(sorted((item["name"] + "==" + item["version"].split("+")[0] for item in found if item["name"] != "lookalike"), key=str.lower)))' "$$report"; \
	} > .venv/constraints.txt
	@mv .venv/constraints.txt constraints.txt
	@git --no-pager diff --stat constraints.txt

clean: ## remove what was made, but for .venv
	@rm -rf demo build dist quality.html .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
