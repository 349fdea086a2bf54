PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RUNNABLE := $(VENV)/.runnable

.DEFAULT_GOAL := help
.PHONY: help install ffmpeg run test check check-page screenshots format faults fuzz container-test bench load soak lock clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make the environment in .venv
$(INSTALLED): setup.py requirements.txt pyproject.toml
	@tools/install.sh "$(PYTHON)" $(VENV) dev "$(MAKECMDGOALS)"
	@touch $@ $(RUNNABLE)

# Installing what the service needs takes a third of the time that installing everything takes.
$(RUNNABLE): setup.py requirements.txt pyproject.toml
	@tools/install.sh "$(PYTHON)" $(VENV) embedded "$(MAKECMDGOALS)"
	@touch $@

run: $(RUNNABLE) ## Serve on 127.0.0.1:8001 with an embedded PostgreSQL
	@exec $(BIN)/python -m service serve

# Into the environment, so that each clone has its own, and `make clean` removes it.
ffmpeg: $(RUNNABLE) ## Build a faster ffmpeg on Debian or Ubuntu, in about two minutes
	@tools/build-ffmpeg.sh $(VENV)/ffmpeg

# Four at a time also on two cores, because the tests wait for a third of their time.
test: $(INSTALLED) ## Run every test against real PostgreSQL and real ffmpeg
	$(BIN)/python -m pytest --numprocesses 4 -m "not long and not container"

check: $(INSTALLED) check-page ## Lint, check the format, check the types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check-page: ## Check the types of the web page, if there is a TypeScript or npm
	@tools/check-page.sh

screenshots: $(INSTALLED) ## Take the pictures in docs/images, in Chromium
	$(BIN)/python -m tests.screenshots

format: $(INSTALLED) ## Format the code, fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

FUZZ = tests/faults/test_fuzz.py tests/faults/test_resumable_sequences.py
faults: $(INSTALLED) ## Run the long forms of the fault tests
	$(BIN)/python -m pytest --timeout 1800 -m long $(addprefix --ignore ,$(FUZZ))

fuzz: $(INSTALLED) ## Send 10,000 mutated WAVs, and 2,000 random sequences of requests
	$(BIN)/python -m pytest --timeout 3600 -m long $(FUZZ)

container-test: $(INSTALLED) ## Build the image, bring each stack up beside yours, and test them
	$(BIN)/python -m pytest -m container tests/containers

bench: $(INSTALLED) ## Measure against bare ffmpeg run beside it
	$(BIN)/python -m benchmarks.throughput

load: $(INSTALLED) ## Overload the service, send it 1,000 uploads at once, attack it
	$(BIN)/python -m benchmarks.hostile
	$(BIN)/python -m benchmarks.overload
	$(BIN)/python -m benchmarks.crowd
	$(BIN)/python -m benchmarks.listeners

soak: $(INSTALLED) ## Use the service for ten minutes, and fail if its memory grows
	$(BIN)/python -m benchmarks.soak

# uv, because pip-tools pins only for the machine that it runs on. It gets its own environment: nothing else needs it. By
# itself it would not notice a change of requirements.txt, which setup.py reads.
COMPILE = "$$tools/bin/uv" pip compile --quiet --refresh-package wavepress --universal --python-version 3.11 --generate-hashes --custom-compile-command 'make lock'
lock: ## Pin every dependency with its hashes, for the image and for CI
	@tools=$$(mktemp -d) && trap 'rm -rf "$$tools"' EXIT && $(PYTHON) -m venv "$$tools" \
	    && "$$tools/bin/python" -m pip install --quiet --disable-pip-version-check uv \
	    && $(COMPILE) $(UPGRADE) requirements.txt --output-file requirements.lock \
	    && $(COMPILE) $(UPGRADE) setup.py --extra dev --constraint requirements.lock --output-file requirements-dev.lock

clean: ## Remove the environment and caches; recordings stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
