#!/usr/bin/env bash
# All tests, on a stack that is up: run by `make test` through local/stack.py.
set -euo pipefail
cd "$(dirname "$0")/.."
local/test-api.sh
.venv/bin/python local/smoke.py --operator "$STACK"
.venv/bin/python local/test-fhir.py
.venv/bin/python local/test-exports.py
.venv/bin/python local/test-migration.py
.venv/bin/python local/test-foreign.py
.venv/bin/python local/test-versions.py
.venv/bin/python local/drill.py
.venv/bin/python local/test-broken.py
.venv/bin/python local/typescript.py test
# Most tests wait for something: twice as many at a time as a machine of two cores would run.
RUST_TEST_THREADS=4 cargo test --workspace --locked
