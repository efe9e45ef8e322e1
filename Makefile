# tollkeeper: `make help` lists the targets.
GO ?= go
# Where a tool that we build ourselves is kept between runs.
TOOLS ?= $(or $(TMPDIR),/tmp)/tollkeeper-tools
GOLANGCI_VERSION := v2.15.0
# Packages with goroutines: the race detector's slowness is spent on these alone. It would have each process that a test starts sleep a second
# at its end.
RACE_PACKAGES = $(shell .ci/race-packages)
SHARED ?= ../shared
IMAGES ?= $(TOOLS)/images
FUZZ_TIME ?= 30s
ROUNDS ?= 100
CASES ?= 1000000
# Of bench-scale: how many records, over how many UTC days, and whether they are verified at the end, which takes their room again.
N ?= 1000000
DAYS ?= 10
VERIFY ?= true
PROPERTY_PACKAGES := ./internal/money ./internal/rating ./internal/billing

.PHONY: help build test properties race lint golangci fuzz crash fault chart chart-cluster monitoring images build-minikube e2e-vllm e2e-cluster e2e-cluster-long bench bench-ingest bench-scale ci

help: ## print this list
	@awk -F':.*## ' '/^[a-z][a-z0-9-]*:.*## /{printf "  %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## compile everything
	$(GO) build ./...

test: ## run all tests
	$(GO) test ./...

properties: ## try CASES (1000000) random cases of each property that money rests on
	TOLLKEEPER_PROPERTIES=$(CASES) $(GO) test -count=1 -timeout=0 -v $(PROPERTY_PACKAGES)

race: ## run the tests of the packages that have goroutines under the race detector
	CGO_ENABLED=1 GORACE=atexit_sleep_ms=0 $(GO) test -race $(RACE_PACKAGES)

lint: golangci ## go vet and golangci-lint
	$(GO) vet ./...

golangci: ## golangci-lint alone (built from source once, into TOOLS)
	.ci/golangci-lint $(GOLANGCI_VERSION) "$(TOOLS)" run ./...

fuzz: ## fuzz every decoder for FUZZ_TIME (30s) each
	.ci/fuzz $(FUZZ_TIME)

crash: ## kill -9 the real binary under load, ROUNDS (100) times, and check what was acknowledged after each
	$(GO) run ./test/crash -rounds $(ROUNDS)

fault: ## take the disk away from the real binary: a real full one (as root), an fsync that fails (by strace)
	TOLLKEEPER_FAULT=1 $(GO) test -count=1 -v ./test/fault

chart: ## lint the Helm chart and check what it renders, with Helm 4 and 3 (built from tools/go.mod once, into TOOLS)
	test/chart/run "$(TOOLS)"

chart-cluster: ## a release's life on the cluster of KUBECONFIG, which has the images of make images: with Helm 4 and 3, two minutes
	CHART_CLUSTER=1 test/chart/run "$(TOOLS)" -v -run TestRelease

monitoring: ## alerts (promtool), dashboards and their templates against a real Prometheus, Collector and tollkeeper
	test/monitoring/run "$(TOOLS)"

images: ## write the chart's images as tars into IMAGES, without an engine or a registry (mkimage of ../shared/cluster)
	$(GO) run ./deploy/images -o "$(IMAGES)" -shared "$(SHARED)" -tools "$(TOOLS)"

build-minikube: ## build tollkeeper's image and the instrumented vLLM's into minikube's engine
	@deploy/build-minikube

e2e-vllm: ## a real vLLM on CPU (../shared/vllm), 240 requests by the openai client: records, counters and cents compared
	test/e2e/vllm/run

e2e-cluster: ## the README's walk-through on a real Kubernetes (KUBECONFIG, else ../shared/cluster), then accidents under load
	test/e2e/cluster/run

e2e-cluster-long: ## the same with outages of two minutes, and more kills
	test/e2e/cluster/run -outage 2m -kills 5

bench: ## all benchmarks: single packages, ingest against the Collector, folding (quarter of an hour; nothing else may run)
	$(GO) test -run '^$$' -bench . ./internal/...
	$(MAKE) bench-ingest bench-scale

bench-ingest: ## acknowledged spans a second against the Collector's persistent queue (../shared/peers), in interleaved rounds
	test/load/ingest

bench-scale: ## fold N (1000000) records of a vLLM's shape over DAYS (10) into a projection: rate, size, and how long answers take
	nice $(GO) run ./test/load/scale -records $(N) -days $(DAYS) -verify=$(VERIFY)

ci: ## what must hold before a commit is on main
	.ci/run
