# serve, test, test-all, test-gpu, check, train-tiny, train-latent, bench, bench-gpu. The first one that is run makes .venv and installs into it;
# but for bench-gpu and test-gpu, which take the Python that is there: PYTHON=…, else python3.

SOURCE ?= examples/mona_lisa.jpg
ARGS ?=
export REENACT_SHARED ?= ../shared

VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev

# A command of that name need not run: version managers leave placeholders for versions that are not chosen.
USABLE := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
CANDIDATES := $(PYTHON) python3.11 python3.12 python3 python

.PHONY: serve test test-all test-gpu check train-tiny train-latent bench bench-gpu clean

serve: $(RUN_STAMP)
	$(BIN)/python -m realtime.serve --source "$(SOURCE)" $(ARGS)

test: $(DEV_STAMP)
	$(BIN)/python -m pytest -m "not slow and not gpu" $(ARGS)

test-all: $(DEV_STAMP)
	$(BIN)/python -m pytest -m "not gpu" $(ARGS)

# What pytest-asyncio is told is news to a Python without it.
test-gpu:
	$(or $(PYTHON),python3) -m pytest tests/gpu -m gpu -W default::pytest.PytestConfigWarning $(ARGS)

check: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The table of docs/training.md, anew: goes on where it was interrupted. RANKS: processes that train, one to a core.
TINY ?= runs/tiny
JUDGE = $(TINY)/judges/regressor.safetensors
RECIPES := imf dae_gan landmark_gan
RANKS ?= 2

train-tiny: $(DEV_STAMP)
	$(BIN)/python -m trainer.prepare synthetic --identities 1000 --frames 12 --size 96 --style stills \
	  --output $(TINY)/rendered
	test -e $(JUDGE) || $(BIN)/python -m trainer.prepare check --only regressor --output $(dir $(JUDGE))
	for recipe in $(RECIPES); do \
	  $(BIN)/torchrun --standalone --nproc-per-node $(RANKS) -m trainer.train $$recipe --config tiny \
	    --data $(TINY)/rendered --output $(TINY)/$$recipe --resume auto || exit; \
	  rm -rf $(TINY)/report-$$recipe $(TINY)/judged-$$recipe; \
	  $(BIN)/python -m trainer.evaluate --weights $(TINY)/$$recipe --output $(TINY)/report-$$recipe || exit; \
	  $(BIN)/python -m trainer.evaluate --weights $(TINY)/$$recipe --output $(TINY)/judged-$$recipe \
	    --landmarks $(JUDGE) --probes 0 || exit; \
	done
	$(BIN)/python -m trainer.compare $(RECIPES:%=$(TINY)/report-%)
	$(BIN)/python -m trainer.compare $(RECIPES:%=$(TINY)/judged-%)

# latent's stages, one after the other. The judge is another one than the face model of the losses: other weights, other people.
LATENT ?= runs/latent
STAGE = $(BIN)/torchrun --standalone --nproc-per-node $(RANKS) -m trainer.train
FACES := --data $(LATENT)/rendered
COEFFICIENTS = test -e $(1) || $(BIN)/python -m trainer.prepare coefficients --model latent:tiny --output $(1)

train-latent: $(DEV_STAMP)
	$(BIN)/python -m trainer.prepare synthetic --identities 1000 --frames 12 --size 96 --style seated \
	  --output $(LATENT)/rendered
	$(call COEFFICIENTS,$(LATENT)/face.safetensors) $(FACES)
	$(call COEFFICIENTS,$(LATENT)/judge.safetensors) --seed 1
	$(STAGE) stylegan2 --config tiny $(FACES) --output $(LATENT)/stylegan2 --resume auto
	$(STAGE) latent_encoder --config tiny $(FACES) --upstream $(LATENT)/stylegan2 \
	  --coefficients $(LATENT)/face.safetensors --output $(LATENT)/encoder --resume auto
	$(BIN)/python -m trainer.prepare moves --model latent:tiny $(FACES) --upstream $(LATENT)/encoder \
	  --output $(LATENT)/moves.safetensors --coefficients $(LATENT)/judge.safetensors --sheet $(LATENT)/walks.png
	$(STAGE) latent --config tiny $(FACES) --upstream $(LATENT)/encoder --moves $(LATENT)/moves.safetensors \
	  --coefficients $(LATENT)/face.safetensors --output $(LATENT)/latent --resume auto
	rm -rf $(LATENT)/report
	$(BIN)/python -m trainer.evaluate --weights $(LATENT)/latent --style seated \
	  --coefficients $(LATENT)/judge.safetensors --output $(LATENT)/report
	cat $(LATENT)/report/report.md

bench: $(DEV_STAMP)
	$(BIN)/python -m realtime.bench stages
	$(BIN)/python -m realtime.bench live
	$(BIN)/python -m realtime.bench quality
	$(BIN)/python -m realtime.bench networks
	$(BIN)/python -m realtime.bench sessions --model warp --sessions 1,2,4 --seconds 10
	$(BIN)/python -m realtime.bench overhead
	$(BIN)/python -m realtime.bench floors --gpu H200

bench-gpu:
	$(or $(PYTHON),python3) -m realtime.bench.gpu $(ARGS)

$(BIN)/python:
	@for python in $(CANDIDATES); do \
	  if $$python -c "$(USABLE)" 2>/dev/null; then \
	    echo "making $(VENV) with $$($$python --version)"; exec $$python -m venv $(VENV); \
	  fi; \
	done; \
	echo "no usable Python 3.11 or 3.12 found (on Debian and Ubuntu it also needs python3-venv); name one: make PYTHON=…" >&2; \
	exit 1

$(RUN_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable . --constraint constraints.txt
	@touch $@

$(DEV_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[dev]" --constraint constraints.txt
	@touch $(RUN_STAMP) $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
