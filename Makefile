# `make help` lists the commands. The commands need make and Python 3.11 to 3.13, and install everything else into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help serve test lint bench fuzz chaos soak audit pictures lock clean images compose-test gpu-libraries
.DELETE_ON_ERROR:

help:
	@echo "make serve         run the whole service with the demo model, on port 8001 (to list options: make serve ARGS=--help)"
	@echo "make test          run all tests (only some tests: make test ARGS=tests/unit)"
	@echo "make lint          run ruff, mypy --strict and luacheck"
	@echo "make bench         measure the service's speed on this machine (with only one model: make bench ARGS='--model light')"
	@echo "make fuzz          give ten million malformed inputs to the parsers (fewer: make fuzz ARGS='--cases 100000 fields urls')"
	@echo "make chaos         cause every fault many times, kill 100 workers (fewer: make chaos ARGS='--runs 1 --kills 3')"
	@echo "make soak          run the service at 120 % of its capacity for an hour (shorter: make soak ARGS='--seconds 600')"
	@echo "make audit         check the locked packages for known vulnerabilities (pip-audit; needs the network)"
	@echo "make gpu-libraries check the libraries of the GPU images (downloads 2.6 GB; needs no GPU)"
	@echo "make pictures      take the documentation's screenshots again (needs Chromium)"
	@echo "make lock          update the lock files (requirements/*.lock) after a change of dependencies in pyproject.toml"
	@echo "make images        build the container images (needs Docker)"
	@echo "make compose-test  build the container images and test them (needs Docker)"
	@echo "make clean         remove $(VENV)"
	@echo "With another Python: make PYTHON=python3.12 serve"

serve: $(VENV)/serve.stamp
	@exec $(BIN)/classification-server serve $(ARGS)

# Two test files run at the same time, because many tests mostly wait. Three files would need more memory than a laptop has.
test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check --no-cache .
	$(BIN)/mypy
	@if command -v luacheck >/dev/null; then luacheck --quiet shared/queue/lua; else \
	  echo "luacheck is missing, so the Lua scripts are not checked. On Debian and Ubuntu: apt install lua-check" >&2; \
	  test -z "$$CI"; fi

bench: $(VENV)/dev.stamp
	$(BIN)/classification-server bench $(ARGS)

pictures: $(VENV)/dev.stamp
	for each in page_screenshots contact_sheet_screenshot calibration_screenshot; do $(BIN)/python -m docs.pictures.$$each || exit 1; done

fuzz: $(VENV)/dev.stamp
	$(BIN)/python -m tests.fuzz $(ARGS)

chaos: $(VENV)/dev.stamp
	$(BIN)/python -m tests.chaos $(ARGS)

soak: $(VENV)/dev.stamp
	$(BIN)/python -m tests.soak $(ARGS)

# pip-audit must check every package: with --strict, a skipped package is a failure.
audit: $(VENV)/dev.stamp
	for lock in requirements/*.lock; do $(BIN)/pip-audit --strict --disable-pip --no-deps -r $$lock || exit 1; done

gpu-libraries: $(VENV)/dev.stamp
	$(BIN)/python -m tests.gpu_libraries

REVISION := $(shell git rev-parse HEAD 2>/dev/null)
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE := docker build --build-arg REVISION=$(REVISION)

# Docker Compose uses the image tags without a version. Kubernetes uses the image tags with the version.
images:
	$(IMAGE) --tag classification-server --tag classification-server:$(VERSION) .
	for file in Dockerfile.gateway Dockerfile.worker deploy/Dockerfile.proxy; do image=classification-server-$${file##*.}; \
	  $(IMAGE) --tag $$image --tag $$image:$(VERSION) --file $$file . || exit 1; done

# The test has its own Compose project name, so it leaves your containers and volumes alone. Ports 8001 and 8002 must be free.
compose-test: export COMPOSE_PROJECT_NAME := classification-server-test
compose-test: images
	python3 -m tests.all_in_one
	docker compose up --detach --wait && python3 -m tests.compose; \
	  status=$$?; docker compose down --volumes; exit $$status

clean:
	rm -rf $(VENV)

# pip installs exactly the locked packages. It resolves no dependencies and compiles no packages.
$(VENV)/%.stamp: requirements/%.lock pyproject.toml | $(VENV)/pyvenv.cfg
	@echo "Installing $< into $(VENV). The first run downloads about 450 MB."
	$(PIP) install --no-deps --only-binary :all: -r $<
	$(PIP) install --no-deps --no-build-isolation --quiet --editable .
	@touch $@

$(VENV)/pyvenv.cfg:
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "$(PYTHON): not found. Install Python 3.11, 3.12 or 3.13, or name its path: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "$(PYTHON): expected Python 3.11, 3.12 or 3.13, which TensorFlow needs, got $$("$(PYTHON)" --version). Name another Python: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON): the module venv is missing. Install it (Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

# The largest lock constrains the smaller locks, so that all locks have the same versions.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
	--no-emit-index-url --generate-hashes $(if $(UPGRADE),--upgrade)
CPU := --override requirements/cpu.overrides requirements/cpu.in
ALIKE := --constraint requirements/dev.lock

# UPGRADE=1 selects the newest versions that pyproject.toml allows. Without UPGRADE=1, only necessary changes are made.
lock: $(VENV)/pyvenv.cfg
	$(PIP) install --quiet 'uv>=0.9,<1'
	$(LOCK) $(CPU) pyproject.toml --extra dev -o requirements/dev.lock
	$(LOCK) $(CPU) $(ALIKE) pyproject.toml requirements/build.in --extra gateway --extra worker --extra webhooks --extra embedded --extra people -o requirements/serve.lock
	$(LOCK) $(ALIKE) pyproject.toml requirements/build.in --extra gateway --extra webhooks -o requirements/gateway.lock
	$(LOCK) $(CPU) $(ALIKE) pyproject.toml requirements/build.in --extra worker -o requirements/worker.lock
	$(LOCK) $(ALIKE) pyproject.toml requirements/build.in --extra gpu -o requirements/gpu.lock
	$(LOCK) $(ALIKE) pyproject.toml requirements/build.in --extra gateway --extra gpu --extra webhooks --extra embedded --extra people -o requirements/serve-gpu.lock
