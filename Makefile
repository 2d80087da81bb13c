# Two commands do everything: `make demo` runs the service and its main job, `make test` passes every test.
# `make help` lists the others.

PORT ?= 4566
PYTHON ?= python3
VENV := .venv
LOCAL := $(VENV)/bin/python local/stack.py
TYPESCRIPT := $(VENV)/bin/python local/typescript.py

# What cargo installs: each in this version, in a place of its own.
DENY := .tools/cargo-deny@0.20.2
FUZZ := .tools/cargo-fuzz@0.13.2
CYCLONEDX := .tools/cargo-cyclonedx@0.5.9

.PHONY: help up down logs demo test smoke roll-back drill quick soak soak-rules soak-stack package sbom bench check audit docs fmt tools clean

help: ## List the commands.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

up: $(VENV)/ready ## Run the service on this machine (PORT=4566), or update what runs.
	cargo build --workspace --locked
	@$(LOCAL) up --port $(PORT)

down: $(VENV)/ready ## Stop it and remove all it has stored.
	@$(LOCAL) down

logs: $(VENV)/ready ## Show what the functions say, and go on showing it.
	@$(LOCAL) logs

demo: up ## Run the service and its main job: validate, import, export, back up and restore sample records.
	@$(VENV)/bin/python local/demo.py

test: $(VENV)/ready ## Pass every test, on a stack of its own that does not disturb `make up`.
	@$(TYPESCRIPT) install
	@$(VENV)/bin/python local/test-fhir.py install
	cargo build --workspace --locked
	cargo test --workspace --locked --no-run
	@$(LOCAL) exec -- local/test-all.sh

smoke: $(VENV)/ready ## Tell what holds on a running stack (API_URL, API_KEY; the local one by default), over HTTP.
	@set -a; if [ -z "$$API_URL" ]; then . .local/env; fi; set +a; $(VENV)/bin/python local/smoke.py $(ARGUMENTS)

roll-back: $(VENV)/ready ## Undo the last deployment of a stack (STACK=…): its functions' earlier versions are live again.
	@$(VENV)/bin/python local/versions.py "$(STACK)" back $(ARGUMENTS)

drill: $(VENV)/ready ## Restore the tables of an emulator of its own to an earlier moment, as RUNBOOK.md has it.
	cargo build --workspace --locked
	@$(VENV)/bin/python local/drill.py

quick: ## Pass the tests that need no stack.
	cargo test --workspace --locked --exclude over-http

soak: $(VENV)/ready $(FUZZ)/ready ## Pass the long forms of the tests: 10,000 seeds of the simulation, mutants, outages of the clients, permissions, load, fuzzing.
	cargo build --workspace --locked
	cargo check --manifest-path bench/Cargo.toml --target-dir target --locked
	cargo test --workspace --locked --no-run
	@$(MAKE) --no-print-directory --jobs 2 soak-rules soak-stack
	@$(LOCAL) exec --deployed-times -- cargo test --workspace --locked --test load -- --ignored --nocapture --test-threads 1
	@PATH="$(CURDIR)/$(FUZZ)/bin:$$PATH" local/fuzz.sh

# The two halves of it that run side by side: one computes, the other mostly waits.
soak-rules:
	SEEDS=10000 cargo test --package in-process --locked --test all simulation
	@$(VENV)/bin/python local/mutants.py

soak-stack:
	OUTAGES=all cargo test --package clinik-bulk --locked --test cli outages
	@$(LOCAL) exec -- $(VENV)/bin/python local/test-broken.py --hang
	@$(LOCAL) exec -- cargo test --workspace --locked --test aws_errors -- --ignored
	@$(LOCAL) exec -- $(VENV)/bin/python local/permissions.py
	@$(LOCAL) exec -- $(VENV)/bin/python local/test-migration.py 100

ARCH ?= arm64

package: .venv-tools/ready ## Build all functions for AWS (ARCH=arm64 or x86_64), and the command line for this machine, to target/package.
	@$(PYTHON) local/package.py $(ARCH)

sbom: $(CYCLONEDX)/ready ## Write a bill of materials (CycloneDX) for all that is released, to target/sbom.
	$(CYCLONEDX)/bin/cargo-cyclonedx cyclonedx --format json --spec-version 1.5 --override-filename bill-of-materials
	@mkdir -p target/sbom
	@for part in functions/* admin clients/cli; do mv $$part/bill-of-materials.json target/sbom/$$(basename $$part).json; done
	@rm -f clients/*/bill-of-materials.json shared/*/bill-of-materials.json tests/*/bill-of-materials.json
	@ls target/sbom

bench: $(VENV)/ready bench/peers/node/node_modules/ready bench/peers/python/.venv/ready ## Measure beside peers (QUICK=1 for small inputs).
	cargo build --release --workspace --bins --locked
	cargo build --release --manifest-path bench/Cargo.toml --target-dir target --bins --locked
	@$(PYTHON) bench/run.py $(STEPS)

bench/peers/node/node_modules/ready: bench/peers/node/package-lock.json
	npm ci --silent --no-fund --no-audit --prefix bench/peers/node
	@touch $@

bench/peers/python/.venv/ready: bench/peers/python/requirements.txt
	$(PYTHON) -m venv bench/peers/python/.venv
	bench/peers/python/.venv/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

check: $(VENV)/ready ## Check format, lints, docs, template, workflows, dependencies and the API's samples.
	cargo fmt --all --check
	cargo fmt --manifest-path bench/Cargo.toml --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	$(VENV)/bin/cfn-lint --region us-east-1 -- template.yaml
	$(VENV)/bin/jactionlint --shellcheck= --pyflakes=
	@$(PYTHON) local/dependencies.py
	@for part in bench fuzz; do cargo metadata --locked --format-version 1 --manifest-path $$part/Cargo.toml >/dev/null || exit 1; done
	@$(VENV)/bin/python local/api_page.py --check
	@$(TYPESCRIPT) check

audit: $(DENY)/ready ## Look for known weaknesses of what we depend on (RustSec; needs the network), and check it all once more.
	$(DENY)/bin/cargo-deny --locked check

docs: $(VENV)/ready ## Build the API page and the description of the API, one file each that needs nothing beside it.
	@$(VENV)/bin/python local/api_page.py
	@echo "open target/api.html; for programs: target/openapi.yaml"

fmt: $(VENV)/ready ## Format the code.
	cargo fmt --all
	@$(TYPESCRIPT) fmt

tools: .venv-tools/ready ## Install sam, cargo lambda and cfn-lint into .venv-tools.

.tools/cargo-%/ready:
	cargo install --quiet --locked --debug --root $(@D) cargo-$*
	@touch $@

clean: ## Remove what was built and installed here.
	rm -rf target .venv .venv-tools .aws-sam .tools

$(VENV)/ready: local/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

.venv-tools/ready: local/requirements-tools.txt
	$(PYTHON) -m venv .venv-tools
	.venv-tools/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@
