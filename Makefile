# Two commands do all the set-up: `make demo` and `make test`. Both install into .venv when needed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The CPU build of torch is enough for everything here; the default one brings gigabytes of CUDA.
TORCH ?= torch==2.13.0
JOBS ?= 2
MODELS ?= nano small
SHIPPED := edge_fiqa/models
.DEFAULT_GOAL := help

.PHONY: help demo test check emulate docs release-check mutants bench models gates fairness clean
help:
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 15

$(VENV)/demo.ok: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[demo,detector]'
	@touch $@

$(VENV)/dev.ok: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/demo.ok

$(VENV)/docs.ok: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[docs]'
	@touch $@

demo: $(VENV)/demo.ok  ## install, and score a real face exit by exit
	$(BIN)/edge-fiqa demo

test: $(VENV)/dev.ok  ## install, and run every test
	$(BIN)/pytest -q -n $(JOBS)

check: $(VENV)/dev.ok  ## format, lint, types, and the fast tests
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/pytest -q -n $(JOBS) -m "not slow and not gpu"

emulate: $(VENV)/dev.ok  ## score the shipped models on processors that are not here (qemu-user)
	$(BIN)/pytest -q -n $(JOBS) tests/emulation/processors.py

docs: $(VENV)/docs.ok  ## build the documentation site in build/site; a dead link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

release-check: $(VENV)/dev.ok  ## build a release into dist/, look into it, and try it in an empty environment
	VENV=$(VENV) .ci/release

mutants: $(VENV)/dev.ok  ## which changes of the pure core does no test notice? Slow; ONLY="edge_fiqa.exits.*"
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[mutants]'
	$(BIN)/mutmut run --max-children $(JOBS) $(ONLY)
	$(BIN)/mutmut results

bench: $(VENV)/dev.ok  ## measure this machine; results go to benchmarks/results
	$(BIN)/edge-fiqa bench --bundle nano small --steps --output benchmarks/results/bench.json
	$(BIN)/python benchmarks/cost_model.py
	$(BIN)/python benchmarks/side_by_side.py

# DATA: a folder with splits/calibration.csv and its faces. The shipped weights become the shipped bundles.
FACES := build/calibration-faces
models: $(VENV)/dev.ok  ## build the shipped bundles anew: make models DATA=FOLDER [MODELS=nano]
	test -n "$(DATA)"
	rm -rf $(FACES) && $(BIN)/python calibration/faces.py $(DATA)/splits/calibration.csv $(DATA) $(FACES)
	for model in $(MODELS); do \
	  $(BIN)/python -m edge_fiqa build $(SHIPPED)/$$model.safetensors -o $(SHIPPED)/$$model-int8 --force \
	    --name edge-fiqa-$$model --recipe engines/recipes/ov/int8.yaml \
	    --calibration-images $(FACES) --calibration-limit 4000 && \
	  cp $(SHIPPED)/$$model-int8/calibration.json calibration/default/$$model.json && \
	  $(BIN)/python -m edge_fiqa build $(SHIPPED)/$$model.safetensors -o $(SHIPPED)/$$model-fp32 --force \
	    --name edge-fiqa-$$model --recipe engines/recipes/ov/fp32.yaml \
	    --calibration calibration/default/$$model.json \
	    --calibration-images $(FACES) --calibration-limit 200 || exit 1; \
	done
	$(MAKE) gates

USES := build/uses
gates: $(VENV)/dev.ok  ## measure what the shipped models' gates mean: make gates DATA=FOLDER
	test -n "$(DATA)"
	rm -rf $(USES) && $(BIN)/python calibration/uses.py $(DATA)/splits/calibration.csv $(DATA) $(USES) \
	  --pairs $(DATA)/pairs/*_gen_calibration.csv
	sed 's#DATA#$(abspath $(DATA))#' calibration/recogniser.yaml > build/recogniser.yaml
	for model in $(MODELS); do \
	  $(BIN)/python -m edge_fiqa calibrate --bundle $(SHIPPED)/$$model-int8 --keep calibration/default/$$model.json \
	    --use portrait=$(USES)/portrait --use "access control=$(USES)/access control" \
	    --use surveillance=$(USES)/surveillance --pairs $(USES)/pairs.csv --recogniser build/recogniser.yaml \
	    -o calibration/default/$$model.json $(SHIPPED)/$$model-int8 $(SHIPPED)/$$model-fp32 || exit 1; \
	done

# NAMES: UTKFace's file names, one a line. TRAINED_ON_MORE: did training see DATA/more? RUN: date and machine.
RUN ?= $(shell date +%F)-$(shell hostname)
fairness: $(VENV)/dev.ok  ## who passes the shipped models' gates: make fairness DATA=FOLDER NAMES=FILE TRAINED_ON_MORE=no
	test -n "$(DATA)" && test -n "$(NAMES)" && test -n "$(TRAINED_ON_MORE)"
	for model in $(MODELS); do \
	  $(BIN)/python benchmarks/fairness.py $(DATA) --model $$model --trained-on-more $(TRAINED_ON_MORE) \
	    --utkface-names $(NAMES) -o benchmarks/results/$(RUN)-fairness-$$model.json || exit 1; \
	done
	$(BIN)/python benchmarks/fairness_card.py $(MODELS:%=benchmarks/results/$(RUN)-fairness-%.json)

clean:  ## remove the virtual environment
	rm -rf $(VENV)
