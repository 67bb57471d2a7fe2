# Every target is one line of help. Versions: Go from go.mod, tools from tools/*/go.mod.
SHELL := /bin/bash
FUZZTIME ?= 30s
BIN := bin

.DEFAULT_GOAL := help
.PHONY: help build test test-all lint generate bench e2e chaos kernels recordings cluster cluster-down k8s compose fuzz

help: ## show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: ## compile weir and weir-agent into bin/
	CGO_ENABLED=0 go build -trimpath -o $(BIN)/ ./cmd/...

test: ## what needs no root and no servers, under a minute warm
	go test ./...

test-all: ## everything, as CI does: needs root and the servers that .ci/run installs
	WEIR_REQUIRE=all go test -p 1 -timeout 30m ./...

lint: ## gofmt, vet, golangci-lint with the import rules, clang-format
	go vet ./...
	go tool -modfile=tools/golangci-lint/go.mod golangci-lint run ./...
	clang-format-19 --dry-run --Werror bpf/*.c bpf/*.h

generate: ## compile the kernel side with clang-19 and rewrite the bindings
	go generate ./bpf/...

bench: ## every figure with its target, into docs/performance.md (root)
	WEIR_REQUIRE=all WEIR_BENCH=full go test -count=1 -v -timeout 30m ./test/bench

e2e: ## real servers, real clients: every request counted (root)
	WEIR_REQUIRE=all go test -count=1 -v -timeout 20m ./test/e2e

chaos: ## kill -9, pauses, rivals under load: exact (root)
	WEIR_REQUIRE=all go test -count=1 -v -timeout 30m ./test/chaos

kernels: ## bpf and agent on Linux 5.10, 6.1, 6.12 and the newest, under qemu
	test/kernels/run

recordings: ## the pictures of README.md and docs/page.md, of a real weir up --demo (root)
	docs/record/record

cluster: ## a Kubernetes cluster of two nodes on this machine (root; builds 8 minutes once)
	@test/cluster/cluster up

cluster-down: ## stop it and leave nothing behind
	@test/cluster/cluster down

k8s: ## Weir on that cluster: names and counts of every request (root)
	WEIR_REQUIRE=all go test -tags installs -count=1 -v -timeout 30m ./test/k8s

compose: ## docker-compose.yaml on a Docker engine of its own: every request counted (root)
	WEIR_REQUIRE=all go test -tags installs -count=1 -v -timeout 20m ./test/compose

fuzz: ## every fuzz target for FUZZTIME each
	@grep -rl '^func Fuzz' --include='*_test.go' . | while read -r f; do \
	  for t in $$(grep -oE '^func Fuzz[A-Za-z0-9_]+' $$f | cut -c6-); do \
	    go test -run='^$$' -fuzz="^$$t\$$" -fuzztime=$(FUZZTIME) ./$$(dirname $$f) || exit 1; \
	  done; done
