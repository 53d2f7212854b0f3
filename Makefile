# Every verb a developer or CI needs; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PORT ?= 3000
GRPC_PORT ?= 3001
# Processes that run tests side by side.
JOBS ?= 2
LOCKS := deploy/locks
PIP := $(BIN)/python -m pip --disable-pip-version-check
SOURCES := service models loadtests tests examples deploy/verify deploy/image deploy/dashboards

.PHONY: help serve test check install fmt lint types imports coverage e2e test-property fuzz-api bento export \
	bench bench-front bench-peers bench-watermark loadtest storm chaos contact-sheet train-data train evaluate-model release-model proto docs lock \
	tools verify-deploy verify-image verify-cluster clean

help: ## List the verbs
	@awk -F':.*## ' '/^[a-z][a-z0-9-]*:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Two stamps: serving needs the small runtime set, everything else the development set on top.
$(VENV)/.runtime: $(LOCKS)/runtime.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --require-virtualenv -r $(LOCKS)/runtime.txt
	$(PIP) install --quiet --no-deps --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime $(LOCKS)/dev.txt
	$(PIP) install --quiet --require-virtualenv -r $(LOCKS)/dev.txt
	@touch $@

install: $(VENV)/.dev ## Make .venv with everything a developer needs

serve: $(VENV)/.runtime ## Set everything up and serve the embedded model (PORT=3000 GRPC_PORT=3001)
	MINTMARK_SERVER__HTTP_PORT=$(PORT) MINTMARK_SERVER__GRPC_PORT=$(GRPC_PORT) $(BIN)/mintmark serve

test: check coverage verify-deploy e2e ## Install what is needed and run what CI runs

check: lint types imports ## Everything that needs no test run

fmt: $(VENV)/.dev ## Format and fix what can be fixed
	$(BIN)/ruff check --fix --quiet $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

lint: $(VENV)/.dev ## Ruff: rules and format
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: $(VENV)/.dev ## mypy, strict
	$(BIN)/mypy

imports: $(VENV)/.dev ## The dependency rules between packages
	$(BIN)/lint-imports

coverage: $(VENV)/.dev ## All tests but the end-to-end ones, with branch coverage
	$(BIN)/pytest -m "not e2e and not gpu and not deploy" -n $(JOBS) --dist loadfile --cov --cov-report=term --durations=10

e2e: $(VENV)/.dev ## End-to-end tests against a real server
	$(BIN)/pytest -m "e2e" --durations=10

# The programs are no Python packages; `python -m deploy.verify.tools` says where each comes from.
$(VENV)/.tools/.complete: deploy/verify/tools.txt deploy/verify/tools.py $(VENV)/.dev
	$(BIN)/python -m deploy.verify.tools
	@touch $@

tools: $(VENV)/.tools/.complete ## Fetch helm, kubectl, trivy and Prometheus' programs into .venv

verify-deploy: tools ## Chart, KServe manifests, rules and dashboards, without a cluster
	$(BIN)/pytest tests/deploy -n $(JOBS) --dist loadfile --durations=10

# Needs podman, and mmdebstrap unless IMAGE="--base docker.io/library/python@sha256:..." names a base.
verify-image: tools ## Build the image without a Docker engine, run it read-only, say size and memory
	$(BIN)/python -m deploy.verify.image $(IMAGE)

# Builds Kubernetes once, into the cache. CLUSTER=--no-pod needs neither root nor the image.
verify-cluster: tools ## Bring up a real control plane, and hold the chart to what it promises there
	$(BIN)/python -m deploy.verify.cluster --cache "$${XDG_CACHE_HOME:-$$HOME/.cache}/mintmark" $(CLUSTER)

test-property: $(VENV)/.dev ## Property tests only
	$(BIN)/pytest -m property

fuzz-api: $(VENV)/.dev ## Ten thousand new requests against the OpenAPI document (some minutes)
	$(BIN)/pytest tests/contract/test_openapi_fuzz.py --hypothesis-profile fuzz --timeout 1800

storm: $(VENV)/.dev ## A thousand clients that leave at random moments (CI: two hundred)
	HOSTILE_DISCONNECTS=1000 $(BIN)/pytest tests/e2e/test_hostile_clients.py --timeout 900

# CHAOS="--quick worker-killed" plays one scenario, briefly; docs/chaos.md.
chaos: $(VENV)/.dev ## Break things under a running server and hold it to its promises (some minutes)
	$(BIN)/python -m loadtests.chaos $(CHAOS)

export: $(VENV)/.dev ## Make the embedded model's ONNX graphs again, with a parity check
	$(BIN)/mintmark export models/embedded

bento: $(VENV)/.runtime ## Build the Bento
	BENTOML_DO_NOT_TRACK=true $(BIN)/bentoml build

bench: $(VENV)/.dev ## CPU seconds per image: this engine beside stock diffusers, one run
	$(BIN)/python -m loadtests.bench_engine

bench-front: $(VENV)/.dev ## What HTTP and gRPC cost beside the bare engine and plain echoes (some minutes)
	$(BIN)/python -m loadtests.bench_front $(BENCH)

bench-peers: $(VENV)/.dev ## Beside LitServe, BentoML batching and plain FastAPI (long; shorter: PEERS=--quick)
	$(BIN)/python -m loadtests.peers $(PEERS)

bench-watermark: $(VENV)/.dev ## Robustness of the watermark per size and attack
	$(BIN)/python -m loadtests.watermark_robustness

# LOADTEST="loadtests/scenarios/ramp.toml --html ramp.html" plays another one.
LOADTEST ?= loadtests/scenarios/quick.toml

loadtest: $(VENV)/.dev ## Twenty seconds of open-loop load on the embedded model; fails on its budgets
	$(BIN)/python -m loadtests.run $(LOADTEST)

contact-sheet: $(VENV)/.dev ## docs/contact-sheet.png, drawn through the API of a running service
	$(BIN)/python -m loadtests.contact_sheet docs/contact-sheet.png

# How the embedded model is made; docs/training.md. TRAIN="--profile cpu --minutes 9" goes on in parts.
TRAINING := $(BIN)/python -m models.training

train-data: $(VENV)/.dev ## Fetch and rasterise the artwork (npm)
	$(TRAINING) data $(TRAIN)

train: $(VENV)/.dev ## Train every network, from where it stopped (TRAIN=--smoke: tiny, offline)
	$(TRAINING) data $(TRAIN)
	$(TRAINING) autoencoder $(TRAIN)
	$(TRAINING) text $(TRAIN)
	$(TRAINING) denoiser $(TRAIN)
	$(TRAINING) few-step $(TRAIN)

evaluate-model: $(VENV)/.dev ## Measure what was released here, or else what ships, beside its ceilings
	$(TRAINING) data $(TRAIN)
	$(TRAINING) evaluate $(TRAIN)

release-model: $(VENV)/.dev ## Assemble the pipeline folder with its graphs and digests
	$(TRAINING) release $(TRAIN)

proto: $(VENV)/.dev ## Write the code generated from the protos again; refuses to break what was released
	$(BIN)/python -m service.rpc.generate
	$(BIN)/python -m service.oip.generate

docs: $(VENV)/.dev ## Write the generated pages of docs/ again, and what the chart knows of settings
	$(BIN)/python -m service.reference docs
	$(BIN)/python -m deploy.verify.settings_schema
	$(BIN)/python -m deploy.dashboards.build

# torch's CPU build comes from wherever pip or uv is configured to look for it; the locks name
# versions and no host. What the chart can ask for (PostgreSQL, S3) is in the runtime lock.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
COMPILE := uv pip compile --quiet --strip-extras --python-version 3.11 --no-header \
	--annotation-style line --no-emit-index-url --no-emit-find-links

lock: $(VENV)/.dev ## Resolve the locks again (uv), keeping what still fits
	$(BIN)/$(COMPILE) --generate-hashes --extra postgres --extra s3 \
		--output-file $(LOCKS)/runtime.txt pyproject.toml
	sed 's/^torch==.*/&+cpu/' $(LOCKS)/torch-cpu.txt > $(VENV)/torch-cpu.txt
	$(BIN)/$(COMPILE) --extra dev --constraint $(LOCKS)/runtime.txt \
		--constraint $(VENV)/torch-cpu.txt --output-file $(LOCKS)/dev.txt pyproject.toml
	@# Only the build is local: other machines take the version from where they look.
	sed -i 's/^\(torch==[0-9.]*\)+cpu/\1/' $(LOCKS)/dev.txt

clean: ## Remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
