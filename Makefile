# `make` lists what there is to do. A recipe of more than a few lines is a script of scripts/.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export PATH := $(CURDIR)/.tools/bin:$(PATH)
# scripts/tools.sh puts compose here on a machine whose docker has none.
ifneq ($(wildcard .tools/docker/cli-plugins/docker-compose),)
export DOCKER_CONFIG ?= $(CURDIR)/.tools/docker
endif

# meshctl as it was built on this host, else the one in a router's container.
MESHCTL ?= $(or $(firstword $(wildcard target/release/meshctl target/debug/meshctl)),docker compose exec -T mcp-router meshctl)
ROUTER_AT ?= $(or $(MCP_ROUTER_ADDR),127.0.0.1:$(or $(MESH_HOST_PORT),50051))
LIST = MCP_ROUTER_ADDR=$(ROUTER_AT) $(MESHCTL) list

.PHONY: help
help: ## This list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z%<>A-Z -]+:.*## / { printf "  %-34s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

##@ Try it

.PHONY: demo
demo: ## Start a mesh in one process, call it in every way, end it: no Docker, no Consul
	@scripts/tools.sh build
	cargo build -q -p meshctl
	target/debug/meshctl demo

##@ Containers

.PHONY: up down restart status logs build clean
up: ## Start the mesh, or apply a changed configuration; replica counts stay
	scripts/scale.sh

down: ## Stop the mesh and remove its containers
	docker compose down

restart: ## Restart the replicas one at a time, while calls go on
	scripts/rolling_restart.sh

status: ## Containers, and the routers as HAProxy sees them
	@docker compose ps
	@scripts/manage_routers.sh haproxy

logs: ## Follow all logs
	docker compose logs -f --tail=100

logs-%: ## Follow the logs of one service: make logs-echo-agent
	docker compose logs -f --tail=100 $*

build: ## Build the programs, and the image where Docker runs; PPROF=1 for profiles
	PPROF=$(PPROF) scripts/build.sh

clean: ## Remove containers, volumes and everything built (.tools stays)
	! docker info >/dev/null 2>&1 || docker compose down -v --remove-orphans
	cargo clean

##@ Scaling

# scale SERVICE,TARGET: N is checked here, so that the error names the target that was called.
define scale
@[[ "$(N)" =~ ^[1-9][0-9]?$$ ]] || { echo "error: N is '$(N)', not a number from 1 to 99. Call it as: make $@ N=3" >&2; exit 2; }
scripts/scale.sh $(foreach service,$(1),$(service)=$(N))
endef

.PHONY: scale-router scale-echo scale-weather scale-itinerary scale-pipeline scale-all scale-down
SINGLE = mcp-router echo-agent weather-tool itinerary-worker
scale-router: ## Run N routers behind HAProxy: make scale-router N=3
	$(call scale,mcp-router)

scale-echo: ## Run N echo agents
	$(call scale,echo-agent)

scale-weather: ## Run N weather tools
	$(call scale,weather-tool)

scale-itinerary: ## Run N itinerary workers
	$(call scale,itinerary-worker)

# Who has no target of its own here.
MESH = $(shell . scripts/lib.sh; mesh_services)
PIPELINE = $(filter-out $(SINGLE),$(MESH))
scale-pipeline: ## Run N of each agent and tool of the pipeline
	$(call scale,$(PIPELINE))

scale-all: ## Run N of each, but for the pipeline's
	$(call scale,$(SINGLE))

scale-down: N = 1
scale-down: ## Run one of each
	$(call scale,$(MESH))

##@ Look at it

.PHONY: check-consul consul-check consul-cleanup ui-consul ui-haproxy
check-consul: ## Services, instances and health in Consul; JSON=1 for JSON
	@JSON=$(JSON) scripts/consul.sh check

consul-check: check-consul ## The same as check-consul

consul-cleanup: ## Deregister critical instances
	@scripts/consul.sh cleanup

ui-consul: ## Open Consul's page
	@scripts/open.sh consul 8500 /ui

ui-haproxy: ## Open HAProxy's statistics
	@scripts/open.sh haproxy 8404 /stats

.PHONY: mcp-query mcp-query-agents mcp-query-tools mcp-query-workers mcp-query-json
mcp-query: ## What the router can reach
	@$(LIST)

mcp-query-agents mcp-query-tools mcp-query-workers: ## Agents, tools or workers only
	@$(LIST) $(@:mcp-query-%=%)

mcp-query-json: ## All of it as JSON
	@$(LIST) --json

.PHONY: doctor
doctor: ## Look for what is wrong with the mesh, and what to do: WAIT=60s waits until all is well
	@$(MESHCTL) doctor $(if $(WAIT),--wait $(WAIT))

##@ Develop

.PHONY: dev tools check keys dashboards test test-openapi test-containers test-observability test-kubernetes test-workflows test-mcp
dev: ## Build what changed, and restart the containers of those programs and no others
	scripts/dev.sh

tools: ## Install what building, testing and checking need
	scripts/tools.sh all

check: ## Style: formatting, lints, licences, scripts
	@scripts/tools.sh check
	@scripts/check.sh

keys: ## Write config/example.toml and the guide's tables of keys, metrics and policies anew
	WRITE_KEYS=1 cargo test -q --locked -p mesh-testkit --test every_key the_documents_are

dashboards: ## Write Grafana's dashboards anew, after a change of deploy/grafana/dashboards.py
	python3 deploy/grafana/dashboards.py

test: ## Every test, against the real Consul, HAProxy, grpcurl, grpcio, MCP's own clients and schemathesis
	@scripts/tools.sh test
	@scripts/tools.sh mcp
	@scripts/tools.sh openapi
	@# Built with the tests, the programs share their dependencies; alone they would have them compiled once more.
	cargo build --workspace --locked --bins --tests
	MESH_TEST_BIN=$(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/debug cargo test --workspace --locked
	scripts/test-openapi.sh

test-openapi: ## Send the gateway what its own description allows, and what it does not: LIMIT=60 seconds
	@scripts/tools.sh openapi
	cargo build -q --locked -p mesh-gateway -p echo-agent
	scripts/test-openapi.sh $(or $(LIMIT),60)

test-containers: ## Scale and restart the mesh in Docker, under load
	scripts/test-containers.sh

test-observability: ## Faults in a mesh of programs, until each alert reaches a webhook and ends; every query of the dashboards
	scripts/test-observability.sh

test-workflows: ## Kill, stop and empty what carries out workflows, under load: RUNS=20000 RATE=200
	@scripts/tools.sh test
	cargo build --release --locked --bins -p meshctl -p echo-agent -p job-runner -p workflow-runner
	MESH_TEST_BIN=$(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/release MESH_TEST_WORKFLOW_RUNS=$(or $(RUNS),20000) \
	  MESH_TEST_WORKFLOW_RATE=$(or $(RATE),200) MESH_TEST_WORKFLOW_WAITING=1000 MESH_TEST_WORKFLOW_STOP=30 \
	  cargo test --locked -p mesh-testkit --test workflow_faults -- --nocapture --test-threads 1

test-mcp: ## The tests of MCP, and calls that take 90 s with their true times
	@scripts/tools.sh test
	@scripts/tools.sh mcp
	MESH_TEST_TRUE_TIMES=1 cargo test --locked -p mesh-testkit --test mcp

test-kubernetes: ## The manifests and discovery = "kubernetes" against a real API server; compiling it takes fifteen minutes once
	@scripts/tools.sh kubernetes
	cargo build -q --locked -p mcp-router -p echo-agent -p mesh-gateway
	cargo test -q --locked -p mesh-testkit --test kubernetes --no-run
	MESH_TEST_BIN=$(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/debug scripts/test-kubernetes.sh

.PHONY: bench
bench: ## Measure the router beside HAProxy, nginx, Envoy and hyper: ROUNDS=3 SECONDS=3, or QUICK=1
	@QUICK=$(QUICK) scripts/bench.sh $(if $(QUICK),1 2,$(or $(ROUNDS),3) $(or $(SECONDS),3))

.PHONY: bench-scrape
bench-scrape: ## Measure a scrape of 200 services with 3 instances, and what calls notice of it: SECONDS=20
	@cargo run --release --quiet -p mesh-testkit --example scrape -- --seconds $(or $(SECONDS),20)

.PHONY: bench-jobs
bench-jobs: ## Measure the job queue beside BullMQ, asynq and RQ: ROUNDS=3, or STAGES="none latency report"
	@ROUNDS=$(or $(ROUNDS),3) scripts/bench-jobs.sh $(STAGES)

.PHONY: bench-workflows
bench-workflows: ## Measure workflows beside DBOS: ROUNDS=3, PEERS="dbos temporal restate", or STAGES="rates report"
	@ROUNDS=$(or $(ROUNDS),3) PEERS="$(or $(PEERS),dbos)" scripts/bench-workflows.sh $(STAGES)

.PHONY: bench-mcp
bench-mcp: ## Measure MCP beside Envoy, FastMCP's proxy and ContextForge: ROUNDS=3 SECONDS=10, PEERS="envoy fastmcp contextforge"
	@scripts/tools.sh bench-mcp
	@ROUNDS=$(or $(ROUNDS),3) SECONDS_EACH=$(or $(SECONDS),10) scripts/bench-mcp.sh $(STAGES)

.PHONY: bench-runs
bench-runs: ## Measure the stores of workflows: commits, and pages of a search among RUNS=1000000
	@cargo run --release --quiet -p mesh-runs --example commits
	@cargo run --release --quiet -p mesh-runs --example million_runs -- $(or $(RUNS),1000000)

.PHONY: new-agent new-tool new-worker
new-agent new-tool new-worker: ## Start a service: make new-agent NAME=research
	@[ -n "$(NAME)" ] || { echo "error: NAME is missing. Call it as: make $@ NAME=research" >&2; exit 2; }
	@scripts/new-service.sh $(@:new-%=%) "$(NAME)"
