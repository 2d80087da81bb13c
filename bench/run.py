"""Measures the service beside its peers, and prints one table: goal, ours, peer, ratio, holds.

    make bench            100,000 observations, a million for memory, five runs each (some ten minutes)
    make bench QUICK=1    the same on small inputs, once each (under three minutes once everything is built)

The processors are the release binaries as they are deployed; this script plays Lambda's runtime API to them.
`endpoint` stands for AWS, in a process of its own. The peers are what a user would write instead, on the AWS
SDKs of Node and Python, doing the same on the same bytes. CPU is user and system time of the worker's process
alone, memory its peak (VmHWM). Before speeds are compared, outputs are. Linux only: it reads /proc.
"""

import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

from harness import QUICK, RUNS, Table
from steps import calls, peers, store, tools


def machine() -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory_size = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text()).group(1)) / 1024 / 1024
    versions = [subprocess.run(command, capture_output=True, text=True).stdout.strip() for command in (["rustc", "--version"], ["node", "--version"])]
    return f"{os.cpu_count()} cores ({model.group(1) if model else platform.machine()}), {memory_size:.0f} GiB, {platform.system()}; {versions[0]}, Node {versions[1]}, Python {platform.python_version()}"


STEPS = {
    "import-and-export": peers.import_and_export, "memory": peers.memory, "cold-start": calls.cold_start, "units": store.units,
    "since": store.since, "throttled": store.throttled, "faults": store.faults, "readers": store.readers, "lines": tools.lines,
    "fhir": tools.fhir, "accept": calls.accept, "accept-to-completed": calls.accept_to_completed,
    "command-line": tools.command_line, "cores": tools.cores, "zips": tools.zips,
}


def main() -> None:
    table = Table()
    began = time.monotonic()
    wanted = sys.argv[1:]
    if unknown := set(wanted) - set(STEPS):
        raise SystemExit(f"no such steps: {', '.join(sorted(unknown))}; there are {', '.join(STEPS)}")
    for name, step in STEPS.items():
        if not wanted or name in wanted:
            step(table)
    print(f"{machine()}\n{'Small inputs, once each' if QUICK else f'{RUNS} runs each'}, {time.monotonic() - began:.0f} s; the change log settles for 1 s, deployed for 10 s\n")
    print(table.show())


main()
