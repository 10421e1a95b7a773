# make serve · make test · make lint · make bench · make fuzz · make soak · make audit · make images · make compose-test · make lock.  Needs make and a Python of 3.11 to 3.13; the rest goes into .venv
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help serve test lint bench fuzz chaos soak audit pictures lock clean images compose-test
.DELETE_ON_ERROR:

help:
	@echo "make serve   the whole service with the demo model, on port 8001 (more: make serve ARGS=--help)"
	@echo "make test    every test (some: make test ARGS=tests/unit)"
	@echo "make lint    ruff, mypy --strict and luacheck"
	@echo "make bench   how fast the service is here (some: make bench ARGS='--model light')"
	@echo "make fuzz    ten million broken inputs (fewer: make fuzz ARGS='--cases 100000 fields urls')"
	@echo "make chaos   every fault many times, 100 killed workers (fewer: make chaos ARGS='--runs 1 --kills 3')"
	@echo "make soak    an hour at 120 % of capacity (shorter: make soak ARGS='--seconds 600')"
	@echo "make audit   look the locked packages up in the database of known faults (pip-audit; needs the network)"
	@echo "make pictures  the screenshots of the documentation, taken anew (needs Chromium)"
	@echo "make lock    write requirements/*.lock anew, after a change of dependencies in pyproject.toml"
	@echo "make images  the container images, with Docker; make compose-test tries them"
	@echo "make clean   remove $(VENV)"
	@echo "Another Python: make PYTHON=python3.12 serve"

serve: $(VENV)/serve.stamp
	@exec $(BIN)/classification-server serve $(ARGS)

# Two at once, as many wait for something most of the time; more would want more memory than a laptop has.
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
	for each in make sheet calibration; do $(BIN)/python -m docs.pictures.$$each || exit 1; done

fuzz: $(VENV)/dev.stamp
	$(BIN)/python -m tests.fuzz $(ARGS)

chaos: $(VENV)/dev.stamp
	$(BIN)/python -m tests.chaos $(ARGS)

soak: $(VENV)/dev.stamp
	$(BIN)/python -m tests.soak $(ARGS)

# Each package must have been looked up: one that was skipped is a failure too.
audit: $(VENV)/dev.stamp
	for lock in requirements/*.lock; do $(BIN)/pip-audit --strict --disable-pip --no-deps -r $$lock || exit 1; done

REVISION := $(shell git rev-parse HEAD 2>/dev/null)
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE := docker build --build-arg REVISION=$(REVISION)

# Compose takes the ones without a version, Kubernetes the ones with it.
images:
	$(IMAGE) --tag classification-server --tag classification-server:$(VERSION) .
	for file in Dockerfile.gateway Dockerfile.worker deploy/Dockerfile.proxy; do image=classification-server-$${file##*.}; \
	  $(IMAGE) --tag $$image --tag $$image:$(VERSION) --file $$file . || exit 1; done

# A project of its own, so that no container or volume of yours is touched; ports 8001 and 8002 must be free.
compose-test: export COMPOSE_PROJECT_NAME := classification-server-test
compose-test: images
	python3 -m tests.all_in_one
	docker compose up --detach --wait && python3 -m tests.compose; \
	  status=$$?; docker compose down --volumes; exit $$status

clean:
	rm -rf $(VENV)

# A lock is installed as it stands: no resolving, and nothing that would need a compiler.
$(VENV)/%.stamp: requirements/%.lock pyproject.toml | $(VENV)/pyvenv.cfg
	@echo "Installing $< into $(VENV): the first time this fetches about 450 MB."
	$(PIP) install --no-deps --only-binary :all: -r $<
	$(PIP) install --no-deps --no-build-isolation --quiet --editable .
	@touch $@

$(VENV)/pyvenv.cfg:
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "$(PYTHON) is not there: install Python 3.11, 3.12 or 3.13, or name yours: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "$$("$(PYTHON)" --version) does not do: TensorFlow needs Python 3.11, 3.12 or 3.13. Name one: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) lacks its venv module. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

# The smaller locks are constrained by the largest, so that all of them agree.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
	--no-emit-index-url --generate-hashes $(if $(UPGRADE),--upgrade)
CPU := --override requirements/cpu.overrides requirements/cpu.in
ALIKE := --constraint requirements/dev.lock

# UPGRADE=1 takes the newest versions that pyproject.toml allows; without it, only what must change does.
lock: $(VENV)/pyvenv.cfg
	$(PIP) install --quiet 'uv>=0.9,<1'
	$(LOCK) $(CPU) pyproject.toml --extra dev -o requirements/dev.lock
	$(LOCK) $(CPU) $(ALIKE) pyproject.toml requirements/build.in --extra gateway --extra worker --extra webhooks --extra embedded --extra people -o requirements/serve.lock
	$(LOCK) $(ALIKE) pyproject.toml requirements/build.in --extra gateway --extra webhooks -o requirements/gateway.lock
	$(LOCK) $(CPU) $(ALIKE) pyproject.toml requirements/build.in --extra worker -o requirements/worker.lock
	$(LOCK) $(ALIKE) pyproject.toml requirements/build.in --extra gpu -o requirements/gpu.lock
	$(LOCK) $(ALIKE) pyproject.toml requirements/build.in --extra gateway --extra gpu --extra webhooks --extra embedded --extra people -o requirements/serve-gpu.lock
