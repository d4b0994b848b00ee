# Kiln's targets. Each installs what it needs (root or sudo; the Rust toolchain must be there) and stops at the
# first step that fails.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Where rustup puts cargo, and where Debian keeps mke2fs and sfdisk, out of an ordinary user's way.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/sbin:/sbin
export CARGO_TARGET_DIR ?= $(CURDIR)/target

KILN := $(CARGO_TARGET_DIR)/release/kiln
ARGS ?=

.PHONY: help build demo run test bench soak lint clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

build: ## install the tools and build the release binary
	@scripts/install-tools.sh build qemu
	cargo build --release --locked -p kiln
	@echo "built $(KILN)"

demo: build ## show the main job end to end on a real Debian image
	@scripts/install-tools.sh guest qemu python
	@image=$$(scripts/build-guest-image) && KILN_BINARY="$(KILN)" KILN_GUEST_IMAGE="$$image" \
		.venv/bin/python scripts/demo $(ARGS)

run: build ## start the server (ARGS="--listen ... --data-dir ...")
	@exec "$(KILN)" serve $(ARGS)

test: ## every check and test
	@scripts/test

bench: build ## measure against the tools of the field, side by side
	@scripts/install-tools.sh bench guest qemu nbd python
	@KILN_BINARY="$(KILN)" .venv/bin/python bench/run $(ARGS)

soak: build ## kill the server again and again at random moments, for longer than make test does
	@scripts/install-tools.sh test guest qemu nbd python
	@image=$$(scripts/build-guest-image) && KILN_BINARY="$(KILN)" KILN_GUEST_IMAGE="$$image" KILN_SOAK=1 \
		.venv/bin/python -m pytest tests -m soak $(ARGS)

lint: ## formatting, clippy, and the structure of the code
	@scripts/install-tools.sh build
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
	cargo run --quiet --locked -p kiln-lint

clean: ## remove everything that was built or downloaded here
	rm -rf "$(CARGO_TARGET_DIR)" .venv .cache
