#!/usr/bin/env bash
# All tests, on a stack that is up: run by `make test` through local/stack.py.
set -euo pipefail
cd "$(dirname "$0")/.."
local/test-api.sh
.venv/bin/python local/smoke.py --operator "$STACK"
.venv/bin/python local/test-exports.py
.venv/bin/python local/test-versions.py
.venv/bin/python local/drill.py
.venv/bin/python local/test-broken.py
.venv/bin/python local/typescript.py test
cargo test --workspace --locked
