# `make` lists the targets. Everything runs in .venv, which `make setup` makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WEIGHTS := service/facequality/detectors/embedded/weights
TRAINING := facequality.detectors.embedded.training

.PHONY: help setup clients demo test test-lowest faults benchmark benchmark-guard image sbom deploy-tools verify-deploy soak lint format proto proto-check lock train-engine evaluate-engine wheel clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

setup: $(STAMP)  ## Make .venv with everything for development, and fetch the engine's weights

$(STAMP): requirements-dev.txt pyproject.toml service/facequality/detectors/embedded/weights.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; if it has another name: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	$(BIN)/python -m facequality.detectors.embedded.weights
	touch $@

demo: setup  ## Start the real server and check a portrait and four bad versions of it over gRPC
	$(BIN)/python -m tests.demo

CLIENTS := .cache/clients
clients: setup  ## Install the vendor's other official clients, for the emulator's tests
	test -x $(CLIENTS)/tccli/bin/tccli || { $(PYTHON) -m venv $(CLIENTS)/tccli && $(CLIENTS)/tccli/bin/python -m pip install --quiet tccli==3.1.189.1; }
	test -d $(CLIENTS)/node/node_modules || npm install --loglevel=error --no-fund --no-audit --prefix $(CLIENTS)/node tencentcloud-sdk-nodejs@4.1.313

PROCESSES ?= 2
test: setup  ## Run every test, in PROCESSES (2): most of them wait
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile

LOWEST := .cache/lowest
TEST_TOOLS = hypothesis jsonschema pytest pytest-asyncio pytest-timeout pytest-xdist scikit-image tencentcloud-sdk-python-iai trustme
test-lowest: setup  ## Run the unit tests on the oldest dependencies that pyproject.toml takes
	$(PYTHON) -m venv --clear $(LOWEST)
	$(BIN)/python -m tests.lowest $(TEST_TOOLS) >$(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install --quiet -c $(LOWEST)/constraints.txt -e .[embedded] $(TEST_TOOLS)
	$(LOWEST)/bin/python -m pytest -n 2 -o filterwarnings= --disable-warnings tests/unit

faults: setup  ## Write the table of the vendor's faults into tests/README.md
	$(BIN)/python -m tests.faults

benchmark: setup  ## Measure the gate beside the vendor's SDK, an echo and a naive gate; write tests/benchmark/results.json
	$(BIN)/python -m tests.benchmark --write

benchmark-guard: setup  ## The short version: fail if a ratio has doubled
	$(BIN)/python -m tests.benchmark --guard

IMAGE ?= face-quality-gate
IMAGE_BUILDER ?= docker
REVISION = $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
LABELS = --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION)
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' service/facequality/__init__.py)
image:  ## Build both images with IMAGE_BUILDER (docker, podman, buildah)
	$(IMAGE_BUILDER) build -f deploy/Dockerfile --target gate $(LABELS) -t $(IMAGE):$(VERSION) .
	$(IMAGE_BUILDER) build -f deploy/Dockerfile --target gate-embedded $(LABELS) -t $(IMAGE)-embedded:$(VERSION) .

# From an archive: by its name alone a scanner may fetch somebody else's image.
save = rm -f $(2) && $(if $(findstring buildah,$(IMAGE_BUILDER)),buildah push -q $(1) docker-archive:$(2),$(IMAGE_BUILDER) save -o $(2) $(1))
sbom: deploy-tools  ## Write the bill of materials of both images into dist
	mkdir -p dist
	$(call save,$(IMAGE):$(VERSION),dist/gate.tar)
	$(DEPLOY)/tools/bin/syft scan -q docker-archive:dist/gate.tar -o cyclonedx-json=dist/gate.cdx.json
	$(call save,$(IMAGE)-embedded:$(VERSION),dist/gate-embedded.tar)
	$(DEPLOY)/tools/bin/syft scan -q docker-archive:dist/gate-embedded.tar -o cyclonedx-json=dist/gate-embedded.cdx.json
	rm dist/gate.tar dist/gate-embedded.tar

DEPLOY := .cache/deploy
deploy-tools: setup
	test -x $(DEPLOY)/tools/bin/syft || { $(PYTHON) -m venv $(DEPLOY)/tools && $(DEPLOY)/tools/bin/python -m pip install --quiet -r tests/deploy/tools.txt; }
	test -x $(DEPLOY)/checkov/bin/checkov || { $(PYTHON) -m venv $(DEPLOY)/checkov && $(DEPLOY)/checkov/bin/python -m pip install --quiet checkov==3.3.30; }
	test -d $(DEPLOY)/grafana/node_modules || npm install --loglevel=error --no-fund --no-audit --prefix $(DEPLOY)/grafana typescript@5.9 @grafana/schema@13.2.3
	test -d $(DEPLOY)/node/node_modules || npm install --loglevel=error --no-fund --no-audit --prefix $(DEPLOY)/node @grpc/grpc-js@1.14 @grpc/proto-loader@0.8

STEPS ?=
verify-deploy: deploy-tools  ## Verify deploy/ with the real tools (Debian packages: see .ci/run); STEPS="build run" for some
	$(BIN)/python -m tests.deploy $(STEPS)

MINUTES ?= 10
soak: setup  ## Load a gate for MINUTES (10); memory and latency must stay flat
	$(BIN)/python -m tests.soak --minutes $(MINUTES)

lint: setup proto-check  ## ruff, mypy --strict, import-linter, buf
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint proto
	$(BIN)/buf format -d --exit-code proto

format: setup  ## Format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/buf format -w proto

OUT ?= service
proto: setup  ## Generate the protobuf code
	$(BIN)/python -m grpc_tools.protoc -I proto --python_out=$(OUT) --pyi_out=$(OUT) proto/facequality/v1/*.proto
	$(BIN)/python -m grpc_tools.protoc -I proto --grpc_python_out=$(OUT) \
		--plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc --mypy_grpc_out=quiet:$(OUT) proto/facequality/v1/face_quality_service.proto

proto-check: setup  ## Fail if the generated code is not what the contract gives
	rm -rf $(VENV)/generated && mkdir -p $(VENV)/generated
	$(MAKE) --no-print-directory --silent proto OUT=$(VENV)/generated
	diff -r --exclude=__pycache__ --exclude=__init__.py $(VENV)/generated/facequality/v1 service/facequality/v1

COMPILE := -m piptools compile --quiet --strip-extras --generate-hashes --allow-unsafe --no-emit-index-url --no-emit-find-links
lock: setup  ## Pin the dependencies anew, each by its hashes
	$(BIN)/python $(COMPILE) -o requirements.txt pyproject.toml
	$(BIN)/python $(COMPILE) --extra embedded -c requirements.txt -o requirements-embedded.txt pyproject.toml
	$(BIN)/python $(COMPILE) --extra embedded -c requirements-embedded.txt -o requirements-dev.txt pyproject.toml requirements-dev.in
	$(BIN)/python $(COMPILE) -c requirements-dev.txt -o requirements-build.txt requirements-build.in

train-engine: setup  ## Train the engine's own heads anew (about ten minutes)
	$(BIN)/python -m $(TRAINING).train_sharpness
	$(BIN)/python -m $(TRAINING).train_visibility

evaluate-engine: setup  ## Measure the engine on degraded portraits
	$(BIN)/python -m $(TRAINING).evaluate

wheel: setup  ## Build the wheel, weights and licence notices included
	$(BIN)/python -m pip wheel --quiet --no-deps -w dist .

clean:  ## Remove what was built
	rm -rf $(VENV) dist .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache $(WEIGHTS)
