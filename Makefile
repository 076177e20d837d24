# What a developer types. `make` alone lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo up stop clean test bench chaos fuzz-api lint

# rustup's cargo, also where the shell's start files were not read.
export PATH := $(PATH):$(HOME)/.cargo/bin
# Named in messages that say what to run again.
export MAKE_GOAL := $(firstword $(MAKECMDGOALS))

services := deploy/local/services.sh
scripts := deploy/local/*.sh .ci/run

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  Own services: set AMQP_URL and DATABASE_URL. Other ports: LOCAL_PORT_BASE=28000."

demo: ## 1,000 notices through RabbitMQ, the limiters, a simulated gateway and PostgreSQL
	@deploy/local/demo.sh

up: ## start the private RabbitMQ and PostgreSQL
	@$(services) up

stop: ## stop the demo and the services; data stays
	@$(services) down

clean: ## stop, and remove the services' data
	@$(services) clean

test: up ## all tests, on the real services
	@$(services) tools
	@eval "$$($(services) env)"; failed=0; \
	$(services) promtool test rules deploy/prometheus/tests/*.yml || failed=1; \
	cargo test --locked --lib --bins --tests --no-fail-fast || failed=1; \
	cargo test --locked --doc || failed=1; \
	exit $$failed

bench: up ## throughput and latency of the whole chain, release build (BENCH_ARGS=--quick)
	@eval "$$($(services) env)"; cargo bench --locked --bench throughput -- $(BENCH_ARGS)

chaos: ## kill the daemon and its services while it works, and lay the books side by side (CHAOS_ARGS=--seed 7 CHAOS_PROFILE=release)
	@deploy/local/chaos.sh $(CHAOS_ARGS)

fuzz-api: up ## fuzz the API by its description (FUZZ_ARGS="--max-examples 1000")
	@deploy/local/fuzz-api.sh

lint: ## format, clippy, rustdoc, shellcheck, and the files of deploy/ as far as tools are there
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --locked --no-deps
	@if command -v shellcheck >/dev/null; then echo shellcheck -x $(scripts); shellcheck -x $(scripts); \
	else echo "shellcheck is not installed: scripts not checked"; fi
	@deploy/local/lint.sh
