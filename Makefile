# Everything the project does. `make` alone lists it.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# A clone that belongs to another user must build too, and Go would ask git about it.
export GOFLAGS := $(strip $(GOFLAGS) -buildvcs=false)
# The race detector needs C.
export CGO_ENABLED := 1

GO       ?= go
PKG      ?= ./...
COUNT    ?= 50
FUZZTIME ?= 30s
CHAOSTIME ?= 10m
BENCH    ?= .
BENCHTIME ?= 0.3s
BASE     ?=
ARGS     ?=

# bench is a module of its own, so that its dependencies are not those of the library's users. So is tools.
MODULES  := . bench
TESTTIME := 20m

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z/-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 23

.PHONY: demo
demo: export CGO_ENABLED := 0
demo: ## replay a trace against several processes: TRACE=file REDIS_URL=url ARGS="--help"
	@echo "building the demo; the first time takes a minute or two"
	@$(GO) -C bench build -o ../bin/doppio ./cmd/doppio
	@bin/doppio demo $(ARGS)

.PHONY: test
test: servers lint ## all that CI checks: lint, tests with -race, every benchmark once, the budgets of bench/guard
	@for m in $(MODULES); do \
		echo "== $$m: tests, examples and fuzz seeds, with the race detector"; \
		$(GO) -C "$$m" test -race -shuffle on -timeout $(TESTTIME) $$($(GO) -C "$$m" list ./... | grep -v /internal/attack$$); \
	done
	@echo "== what the race detector would spoil: allocations, and what ristretto hears"
	@$(GO) test -run '[Aa]lloc|countsReads' -timeout $(TESTTIME) ./...
	@echo "== a fleet of processes under faults, for some minutes"
	@$(GO) test -race -timeout $(TESTTIME) ./internal/attack
	@for m in $(MODULES); do \
		echo "== $$m: every benchmark, once"; \
		$(GO) -C "$$m" test -run '^$$' -bench . -benchtime 1x -timeout $(TESTTIME) ./...; \
	done
	@echo "== allocations and ratios to bare libraries, against their budgets"
	@$(GO) -C bench run ./cmd/doppio compare --check

.PHONY: servers
servers: ## install what the tests need and the machine lacks
	@scripts/install-servers.sh

.PHONY: lint
lint: bin/golangci-lint ## formatting, vet, golangci-lint, tidy modules, the project's own rules
	@scripts/check-source.sh
	@for m in $(MODULES) tools; do \
		echo "== $$m: go mod tidy"; \
		$(GO) -C "$$m" mod tidy -diff; \
	done
	@for m in $(MODULES); do \
		echo "== $$m: vet, golangci-lint"; \
		$(GO) -C "$$m" vet ./...; \
		(cd "$$m" && "$(CURDIR)/bin/golangci-lint" run --config "$(CURDIR)/.golangci.yml" ./...); \
	done

# Built from the version that tools/go.mod pins. The first time takes some minutes.
bin/golangci-lint: tools/go.mod tools/go.sum
	@echo "== building golangci-lint"
	@$(GO) -C tools build -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: fuzz
fuzz: ## fuzz every target for FUZZTIME=30s; PKG=./internal/codec for one package
	@scripts/fuzz.sh "$(FUZZTIME)" "$(PKG)"

.PHONY: chaos
chaos: ## attack a fleet for CHAOSTIME=10m on each server: SEED=n, ARGS="-attack.topology=cluster -attack.faults=cut,flushall"
	@$(GO) test -race -timeout 24h -run 'TestAttack$$' -v ./internal/attack -args \
		-attack.duration=$(CHAOSTIME) $(if $(SEED),-attack.seed=$(SEED)) $(ARGS)

.PHONY: mutants
mutants: servers ## break the implementation in known ways, which the attack must notice: ARGS="-only lease"
	@$(GO) run ./internal/attack/mutants $(ARGS)

.PHONY: model
model: ## explore the protocol's model with large bounds: some ten minutes, 4 GB
	@$(GO) test -timeout 4h -run 'TestProtocol_holdsInEveryState$$' -v ./invalidation/model -args -model.large

.PHONY: bench
bench: ## run benchmarks: PKG=./local BENCH=Get; the result is kept for benchstat in out/bench.txt
	@mkdir -p out
	@$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count 6 $(PKG) | tee out/bench.txt
	@$(GO) -C tools tool benchstat "$(CURDIR)/out/bench.txt"

.PHONY: bench/compare
bench/compare: PKG = ./tiered ./local ./internal/codec
bench/compare: BENCH = LocalHit|FarHit|GetMany100|Hit|Struct
bench/compare: COUNT = 6
bench/compare: ## compare benchmarks with the merge base: PKG="./local" BENCH=Hit COUNT=6 BENCHTIME=0.3s BASE=revision
	@scripts/bench-compare.sh '$(PKG)' '$(BENCH)' '$(COUNT)' '$(BENCHTIME)' '$(BASE)'

.PHONY: bench/guard
bench/guard: servers ## fail where allocations or ratios to bare libraries are above their budgets; CI runs it
	@$(GO) -C bench run ./cmd/doppio compare --check

.PHONY: shake
shake: ## look for races and flakes: PKG=./tiered COUNT=50
	@$(GO) test -race -shuffle on -cpu 1,2,4 -count $(COUNT) -timeout 60m $(PKG)

.PHONY: cover
cover: ## measure the coverage, also across packages
	@mkdir -p out
	@$(GO) test -coverpkg ./... -coverprofile out/cover.out -timeout $(TESTTIME) ./...
	@$(GO) tool cover -html out/cover.out -o out/cover.html
	@$(GO) tool cover -func out/cover.out | tail -n 1

.PHONY: clean
clean: ## remove what was built
	rm -rf bin out
