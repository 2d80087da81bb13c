#!/usr/bin/env bash
# All tests, on a stack that is up: run by `make test` through local/stack.py.
set -euo pipefail
cd "$(dirname "$0")/.."
local/test-api.sh
cargo test --workspace --locked
