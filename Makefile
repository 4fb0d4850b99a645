# Every target sets up what it needs and may be run again at once: stamps in .venv remember what is done.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.make
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: simulate test install fetch lint bench solvers browser clean
.DEFAULT_GOAL := install

install: $(STAMPS)/installed

# Debian's python3 may come without ensurepip: its pip, which installs into other environments, then takes its place.
$(STAMPS)/installed: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "edge-adapt: needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "edge-adapt: installing what it needs into $(VENV): about 400 MB to download, 2 GB on disk, a few minutes, once"
	@mkdir -p $(STAMPS)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) 2>/dev/null || \
	  { $(PYTHON) -m venv --clear --without-pip $(VENV) && \
	    $(PYTHON) -m pip --quiet --disable-pip-version-check --python $(BIN)/python install pip; }
	@mkdir -p $(STAMPS)
	$(PIP) install -c constraints.txt -e '.[host,test]'
	@touch $@

simulate: install ## the main job, with its defaults
	@echo "edge-adapt: the main job, about three minutes on two cores; the first time it also compiles and downloads"
	$(BIN)/edge-adapt simulate --device reram

fetch: install ## models and texts for offline work; what is cached is not fetched again
	@echo "edge-adapt: fetching models and texts, about 380 MB, once; what is cached is not fetched again"
	$(BIN)/edge-adapt fetch

# Without a network the tests that need a download skip themselves and say why.
test: install
	@echo "edge-adapt: fetching models and texts for the tests, about 380 MB, once"
	@$(BIN)/edge-adapt fetch || \
	  echo "edge-adapt: not everything could be fetched (the line above says why): tests that need it skip, and say so"
	@echo "edge-adapt: the tests, about ten minutes on two cores; the first time the simulator's kernels are compiled too"
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2 --dist worksteal

# Other people's circuit solvers: the tests that compare with them skip where they are missing, and say so.
solvers: install ## ngspice and badcrossbar, by apt and pip (as root, Debian or Ubuntu)
	DEBIAN_FRONTEND=noninteractive apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends ngspice libcairo2-dev pkg-config
	$(PIP) install -c constraints.txt badcrossbar

# The test of examples/browser skips without both, and says so.
browser: ## Chromium, and npm, where they are missing, by apt (as root, Debian): up to 200 MB
	@command -v chromium >/dev/null && command -v npm >/dev/null || \
	  { export DEBIAN_FRONTEND=noninteractive; apt-get update -qq; \
	    command -v chromium >/dev/null || apt-get install -qq --no-install-recommends chromium; \
	    command -v npm >/dev/null || apt-get install -qq --no-install-recommends npm; }

lint: install
	@echo "edge-adapt: ruff, mypy and import-linter, about a minute"
	@mkdir -p $(STAMPS)/typecheck && ln -sfn "$(CURDIR)" $(STAMPS)/typecheck/edge_adapt
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=$(STAMPS)/typecheck $(BIN)/mypy -p edge_adapt
	$(BIN)/lint-imports --no-cache --no-logo

bench: install ## speed as ratios within one run, JSON in benchmarks/results/
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) build *.egg-info
