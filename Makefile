# Everything that CI runs, for people. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export GTX_TEST_CACHE ?= $(CURDIR)/.cache
BIN := $(GTX_TEST_CACHE)/bin

GOLANGCI_VERSION := v2.15.0
GOLANGCI := $(BIN)/golangci-lint-$(GOLANGCI_VERSION)

# What must not reach a user's go.sum has a module of its own.
MODULES := $(shell sed -n 's/^modules="\(.*\)"$$/\1/p' scripts/test.sh)

PKG ?= ./...
TESTFLAGS ?=
FUZZTIME ?= 15s

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## the gtx command, into bin/
	go build -o bin/ ./cmd/...

# What can run does run where a server is missing, and the outcome is failure all
# the same.
.PHONY: test
test: cc ## all tests on private servers (PKG=./undo TESTFLAGS='-run X'; SHORT=1: those without servers)
ifneq ($(SHORT),)
	GTX_TEST_SHORT=1 go test -race -shuffle=on -p 2 -timeout 10m $(TESTFLAGS) $(PKG)
else
	@scripts/servers.sh || echo "make: running what can run without them"
	go build -o $(BIN)/testservers ./internal/testserver/cmd/testservers
	$(BIN)/testservers scripts/test.sh $(PKG) $(TESTFLAGS)
endif

DIFFTEST_MUTANTS ?= 1000000
DIFFTEST_CAPTURE ?= 20000

# What a share of runs in `make test`.
.PHONY: difftest
difftest: ## statement analysis against parsers and servers, in full: about an hour
	@scripts/servers.sh
	go build -o $(BIN)/testservers ./internal/testserver/cmd/testservers
	cd internal/difftest && go build -o $(BIN)/difftest ./cmd/difftest
	cd internal/difftest && $(BIN)/testservers $(BIN)/difftest -sweep -mutants $(DIFFTEST_MUTANTS)
	cd internal/difftest && for mode in ansi nobackslash nonstd; do \
		$(BIN)/testservers $(BIN)/difftest -mode $$mode -mutants $$(($(DIFFTEST_MUTANTS) / 10)) -generated 20000; done
	cd internal/difftest && GTX_DIFFTEST_CAPTURE=$(DIFFTEST_CAPTURE) GTX_DIFFTEST_INJECT=all $(BIN)/testservers go test -count 1 -timeout 3h ./capture ./inject

CHAOS_FOR ?= 30m

# What `make test` does once, with every kind of fault.
.PHONY: chaos
chaos: ## faults on real processes for CHAOS_FOR (30m); CHAOS_SEED=n repeats the choice, CHAOS_DIR keeps the history; docs/reliability.md has more
	@scripts/servers.sh
	CHAOS_FOR=$(CHAOS_FOR) go test -count 1 -v -timeout 0 -run TestChaos ./integration/chaos

SOAK_MESSAGES ?= 1000000

# What `make test` does with some thousands.
.PHONY: soak
soak: ## SOAK_MESSAGES (1000000) through outbox and inbox while every process is killed: half an hour; SOAK_SEED=n repeats the choice; docs/reliability.md has more
	@scripts/servers.sh
	SOAK_MESSAGES=$(SOAK_MESSAGES) go test -count 1 -v -timeout 0 -run 'TestSoak$$' ./integration/soak

CONFORMANCE ?=

.PHONY: conformance
conformance: ## public test suites through the bare drivers and ours, compared test by test: minutes, see docs/conformance.md
	@scripts/servers.sh
	go build -o $(BIN)/testservers ./internal/testserver/cmd/testservers
	cd internal/conformance && go build -o $(BIN)/conformance ./cmd/conformance
	cd internal/conformance && $(BIN)/testservers $(BIN)/conformance $(CONFORMANCE)

SEEDS ?= 200000

# What a share of runs in `make test`.
.PHONY: sim
sim: ## the commit protocol in SEEDS (200000) simulated schedules, and every seeded bug: minutes
	go build -o $(BIN)/sim ./internal/sim/cmd/sim
	$(BIN)/sim -seeds $(SEEDS)
	GTX_SIM_INJECT=all go test -count 1 -timeout 1h ./internal/sim/...

BENCH_ROUNDS ?= 300

.PHONY: bench
bench: ## what capture and the coordinator cost, on servers that wait for their disk: a quarter of an hour on a quiet machine
	@scripts/servers.sh
	go build -o $(BIN)/testservers ./internal/testserver/cmd/testservers
	GTX_TEST_DURABLE=1 GTX_BENCH_ROUNDS=$(BENCH_ROUNDS) $(BIN)/testservers go test -count 1 -v -timeout 1h -run TestBench ./cmd/gtx
	go test -run '^$$' -bench . -timeout 1h ./gtx/coordinator ./natsbus

COMPARE_ROUNDS ?= 10

.PHONY: compare
compare: ## outbox and inbox beside ones written by hand and Watermill's, on servers that wait for their disk: a quarter of an hour on a quiet machine
	@scripts/servers.sh
	go build -o $(BIN)/testservers ./internal/testserver/cmd/testservers
	cd internal/compare && GTX_TEST_DURABLE=1 GTX_COMPARE_ROUNDS=$(COMPARE_ROUNDS) $(BIN)/testservers go test -count 1 -v -timeout 2h -run TestCompare .

.PHONY: servers
servers: ## make the database servers of the tests available, without installing them
	scripts/servers.sh

# go.mod as `go mod tidy` would write it. -e: a module that only the tests of a
# dependency's dependency want may be out of reach, and that is not ours to mend.
# go.sum is left out for the same reason; the build proves it complete.
define TIDY
echo "go mod tidy -e -diff"; \
changes=$$(go mod tidy -e -diff 2>/dev/null | awk '/^diff / { mod = /go\.mod/ } mod' || true); \
if [[ -n $$changes ]]; then echo "$$changes"; echo "go.mod is not tidy: run go mod tidy -e"; exit 1; fi
endef

.PHONY: lint
lint: $(GOLANGCI) ## format (gofumpt), vet, golangci-lint with the import rules, tidy go.mod; in CI a clean tree
	go vet ./...
	$(GOLANGCI) run ./...
	@$(TIDY)
	@for module in $(MODULES); do cd $(CURDIR)/$$module; echo "lint $$module"; go vet ./...; $(GOLANGCI) run ./...; $(TIDY); done
ifneq ($(CI),)
	@changes=$$(git status --porcelain); if [[ -n $$changes ]]; then echo "the tree is not clean:"; echo "$$changes"; exit 1; fi
endif

.PHONY: format
format: $(GOLANGCI) ## write the format that lint wants
	$(GOLANGCI) fmt ./...
	@for module in $(MODULES); do cd $(CURDIR)/$$module; $(GOLANGCI) fmt ./...; done

.PHONY: fuzz
fuzz: ## every fuzz test for FUZZTIME (15s)
	@found=$$(grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . || true); \
	while IFS=: read -r file _ func; do \
		[[ -n $$file ]] || continue; \
		echo "fuzz $${func#func } in $$(dirname "$$file")"; \
		go test -run '^$$' -fuzz "^$${func#func }$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")"; \
	done <<<"$$found"

.PHONY: demo
demo: ## transfers between two banks, with failures, on SQLite: needs only Go
	go run ./cmd/gtx demo

.PHONY: clean
clean: ## remove what make built, unpacked servers included
	rm -rf bin $(CURDIR)/.cache

# The race detector links with C.
.PHONY: cc
cc:
	@if command -v "$$(go env CC)" >/dev/null; then exit 0; fi; \
	if [[ $$(id -u) == 0 ]] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends gcc libc6-dev; \
	else \
		echo "make: go test -race needs a C compiler: apt-get install gcc libc6-dev" >&2; exit 1; \
	fi

$(GOLANGCI):
	@echo "make: building golangci-lint $(GOLANGCI_VERSION), some minutes once"
	@mkdir -p $(BIN)
	cd / && GOFLAGS= GOBIN=$(BIN)/new go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv $(BIN)/new/golangci-lint $@
