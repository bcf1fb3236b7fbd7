# The verbs. Each makes what it needs: `make demo` and `make test` work on a fresh clone.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# The interpreter that the virtual environment is made from: the first that is new enough and has venv.
CANDIDATES := python3 python3.11 python3.12 python3.13 python3.14 $(wildcard $(HOME)/.pyenv/versions/3.1[1-9]*/bin/python)
SUITABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in $(CANDIDATES); do "$$p" -c '$(SUITABLE)' >/dev/null 2>&1 && { echo "$$p"; break; }; done)

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
TARGET := $(or $(CARGO_TARGET_DIR),target)
# PROFILE=dev builds the wheel without optimisation, for a quicker round while developing.
PROFILE ?= release

# Everything that the wheel is made of. Folders count too, so that a deleted file is noticed.
SOURCES := Cargo.toml Cargo.lock pyproject.toml README.md \
	$(shell find core/src src python -not -path '*/__pycache__*' \( -type d -o -name '*.rs' -o -name '*.py' -o -name '*.pyi' -o -name py.typed \))

# ROUNDS: how often a repeated fault is tried; SEEDS, SEED: which worlds are simulated.
SEEDS ?= 1000
ROUNDS ?= 10000
ARGS ?=

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(STAMPS)/wheel ## the main job on this machine: a census of the Python standard library (ARGS="--input DIR")
	$(BIN)/plait demo $(ARGS)

.PHONY: test
test: check test-rust sim test-stubs test-python ## everything CI runs: checks, Rust tests, a short simulation, pytest

.PHONY: check
check: $(STAMPS)/tools ## formats, lints and types, read-only
	cargo fmt --all --check
	cargo clippy --quiet --locked --workspace --all-targets -- --deny warnings
	$(BIN)/ruff format --quiet --check .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy --no-error-summary

.PHONY: fix
fix: $(STAMPS)/tools ## formats, and mends what a linter can mend
	cargo fmt --all
	cargo clippy --quiet --workspace --all-targets --fix --allow-dirty --allow-staged
	$(BIN)/ruff check --quiet --fix .
	$(BIN)/ruff format --quiet .

.PHONY: test-rust
test-rust: needs
	cargo test --quiet --locked --workspace

.PHONY: test-stubs
test-stubs: $(STAMPS)/tools $(STAMPS)/wheel
	$(BIN)/python -P -m mypy.stubtest plait._native --allowlist tests/stubtest.allow --ignore-unused-allowlist

.PHONY: test-python
test-python: $(STAMPS)/tools $(STAMPS)/wheel
	$(BIN)/python -P -m pytest $(ARGS)

.PHONY: sim
sim: needs ## simulated clusters: SEEDS=1000 (that many), or SEED=42 (replays one)
	cargo run --quiet --release --locked -p plait-sim -- $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

.PHONY: chaos
chaos: $(STAMPS)/tools $(STAMPS)/wheel ## the faults with their full counts: ROUNDS=10000 per repeated one
	$(BIN)/python -P -m pytest tests/chaos tests/cluster --rounds $(ROUNDS) --timeout 7200 $(ARGS)

.PHONY: bench
bench: $(STAMPS)/wheel $(STAMPS)/bench ## plait beside its peers, as ratios (ARGS="--only tree --peers Pool --pairs 3 --quick")
	$(BIN)/python -m bench $(ARGS)

.PHONY: bench-readme
bench-readme: $(STAMPS)/wheel ## writes the README's comparison from the last `make bench`
	$(BIN)/python -m bench.readme --write target/bench

.PHONY: bench-detection
bench-detection: $(STAMPS)/wheel ## how soon deaths and silence are noticed, beside what is promised
	$(BIN)/python -m bench.detection

.PHONY: bench-threads
bench-threads: $(STAMPS)/wheel ## what a no-op costs the caller, plait's own threads and the executors (ARGS="--rounds 9")
	$(BIN)/python -m bench.threads $(ARGS)

.PHONY: bench-scheduler
bench-scheduler: needs ## the scheduler and the shells alone, without Python
	cargo bench --locked

.PHONY: bench-scale
bench-scale: needs ## the scheduler as the cluster grows to 1,000 workers and 10,000,000 tasks (ARGS=--quick: a tenth of them; ARGS="wide 100": one case, one size)
	cargo bench --locked -p plait-core --bench scale -- $(ARGS)

.PHONY: fuzz
fuzz: needs ## every decoder for a minute each; wants a nightly toolchain with cargo-fuzz
	@cargo +nightly fuzz --version >/dev/null 2>&1 || { echo 'make fuzz wants: rustup toolchain install nightly; cargo install cargo-fuzz' >&2; exit 2; }
	for target in $$(cargo +nightly fuzz list); do cargo +nightly fuzz run "$$target" -- -max_total_time=60; done

.PHONY: docs
docs: needs ## the Rust documentation, warnings as errors
	RUSTDOCFLAGS='--deny warnings --allow rustdoc::private_intra_doc_links' cargo doc --locked --workspace --no-deps --document-private-items

.PHONY: needs
needs:
	@missing=(); \
	cargo --version >/dev/null 2>&1 || missing+=('cargo, the Rust toolchain'); \
	cargo clippy --version >/dev/null 2>&1 || missing+=('clippy: rustup component add clippy'); \
	cargo fmt --version >/dev/null 2>&1 || missing+=('rustfmt: rustup component add rustfmt'); \
	cc --version >/dev/null 2>&1 || missing+=('cc, a C compiler'); \
	[ -n '$(PYTHON)' ] || missing+=('python3 >= 3.11 with venv; PYTHON=/path/to/python names one'); \
	(($${#missing[@]} == 0)) || { printf 'plait needs:\n' >&2; printf '  %s\n' "$${missing[@]}" >&2; exit 2; }

$(STAMPS)/venv: | needs
	$(PYTHON) -m venv --clear $(VENV)
	mkdir -p $(STAMPS)
	touch $@

$(STAMPS)/maturin: $(STAMPS)/venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'maturin>=1.16,<2'
	touch $@

# What checks and tests need, without the wheel: the same list that the wheel's extra `test` names.
$(STAMPS)/tools: $(STAMPS)/maturin pyproject.toml
	$(BIN)/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; print(*p["dependencies"], *p["optional-dependencies"]["test"], sep="\n")' \
		| $(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement /dev/stdin
	touch $@

# The peers, and what draws. Dask and Ray are measured where they are installed: pip install 'plait[bench-schedulers]'.
$(STAMPS)/bench: $(STAMPS)/maturin pyproject.toml
	$(BIN)/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; print(*p["optional-dependencies"]["bench"], sep="\n")' \
		| $(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement /dev/stdin
	touch $@

$(STAMPS)/wheel: $(SOURCES) | needs $(STAMPS)/maturin
	@echo 'building plait: a minute or two the first time'
	rm -rf dist
	$(BIN)/maturin build --quiet --profile $(PROFILE) --interpreter $(BIN)/python --out dist
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps dist/*.whl
	$(BIN)/python -m pip install --quiet --disable-pip-version-check dist/*.whl
	$(BIN)/python -m bench.place >$@
