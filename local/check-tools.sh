#!/usr/bin/env bash
# The checks whose tools are not installed by `make`: each runs when its tool is there, and says so when not.
set -euo pipefail
cd "$(dirname "$0")/.."

if command -v cargo-deny >/dev/null; then
    cargo deny --locked check bans licenses sources
else
    echo "left out: cargo deny (bans, licences, sources); to have it: cargo install cargo-deny --version 0.20.2 --locked"
fi

if [ -x .venv-tools/bin/sam ]; then
    AWS_DEFAULT_REGION=us-east-1 SAM_CLI_TELEMETRY=0 .venv-tools/bin/sam validate --lint --template template.yaml
else
    echo "left out: sam validate --lint; to have it: make tools"
fi
