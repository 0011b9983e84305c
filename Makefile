# tilth: everything a person or CI runs. Needs Python 3.11 or later, git and make; nothing else.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: help quickstart dev test check format claims benchmarks crash docs lock clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

$(VENV)/.core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "tilth needs Python 3.11 or later; set PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) --editable '.[dev]'
	@touch $@

quickstart: $(VENV)/.core  ## install, build recipes/quickstart.yaml, print the verdict and the report's path
	$(BIN)/tilth build recipes/quickstart.yaml

dev: $(VENV)/.dev  ## install with everything needed to work on tilth

test: $(VENV)/.dev  ## lint, types, all tests and documentation examples
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile

check: test  ## the same as test: one command checks all

format: $(VENV)/.dev  ## reformat the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev  ## regenerate docs/papers.md from papers.toml
	$(BIN)/python -c 'import sys; from tilth.ledger import docs_page; sys.stdout.write(docs_page())' > docs/papers.md

claims: $(VENV)/.dev  ## reproduce papers' claims; needs TILTH_DATA
	for name in $$($(BIN)/tilth claim); do $(BIN)/tilth claim $$name || exit 1; done

benchmarks: $(VENV)/.dev  ## list the benchmarks, each a ratio against a named peer
	@ls benchmarks/*.py && echo "run one: $(BIN)/python benchmarks/NAME.py --help"

crash: $(VENV)/.core  ## kill a build at 50 random instants and compare what it resumes to
	$(BIN)/python scripts/crash_test.py --kills 50

lock: $(VENV)/.dev  ## write constraints.txt from the installed versions
	$(BIN)/python -m pip freeze --exclude-editable > constraints.txt

clean:  ## remove what builds and tools leave behind
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis
