#!/usr/bin/env bash
# Fuzzes every target for SECONDS_EACH (60) seconds, under a limit of memory, from the corpus in fuzz/corpus. What it
# finds stays in fuzz/artifacts, and what it learns in fuzz/learned: to be looked at, and committed on purpose only.
set -euo pipefail
cd "$(dirname "$0")/.."
# Coverage and sanitizer are flags that rustc calls unstable: allowed, so that the pinned toolchain serves.
export RUSTC_BOOTSTRAP=1
for target in framing records bodies ids fhir; do
    echo "fuzzing $target"
    learned="$PWD/fuzz/learned/$target"
    mkdir -p "$learned"
    cargo fuzz run "$target" "$learned" "$PWD/fuzz/corpus/$target" -- \
        -max_total_time="${SECONDS_EACH:-60}" -rss_limit_mb=512 -max_len=4096 -timeout=10 -print_final_stats=1 2>&1 |
        grep -E "SUMMARY|ERROR|panicked|stat::number_of_executed_units|stat::peak_rss_mb"
done
