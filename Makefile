# Every target sets up what it needs and may be run again at once: stamps in .venv remember what is done.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.make

.PHONY: simulate test install fetch lint bench solvers clean
.DEFAULT_GOAL := install

install: $(STAMPS)/installed

$(STAMPS)/installed: setup.cfg pyproject.toml constraints.txt
	@mkdir -p $(STAMPS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[host,test]'
	@touch $@

simulate: install ## the main job, with its defaults
	$(BIN)/edge-adapt simulate --device reram

fetch: install ## models and texts for offline work; what is cached is not fetched again
	$(BIN)/edge-adapt fetch

# Without a network the tests that need a download skip themselves and say why.
test: install
	-$(BIN)/edge-adapt fetch
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2

# Other people's circuit solvers: the tests that compare with them skip where they are missing, and say so.
solvers: install ## ngspice and badcrossbar, by apt and pip (as root, Debian or Ubuntu)
	DEBIAN_FRONTEND=noninteractive apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends ngspice libcairo2-dev pkg-config
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt badcrossbar

lint: install
	@mkdir -p $(STAMPS)/typecheck && ln -sfn "$(CURDIR)" $(STAMPS)/typecheck/edge_adapt
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=$(STAMPS)/typecheck $(BIN)/mypy -p edge_adapt

bench: install ## speed as ratios within one run, JSON in benchmarks/results/
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) build *.egg-info
