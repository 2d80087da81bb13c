"""What accepting an import of 10,000 short lines (2 MB) takes a start function: CPU, and memory beyond that of
small calls. Run by bench/run.py on a stack of release binaries; prints JSON. Linux only: it reads /proc."""

import json
import os
import re
import urllib.request
from pathlib import Path

CALLS = 5


def call(data: str) -> int:
    body = json.dumps({"resourceType": "Patient", "data": data}).encode()
    request = urllib.request.Request(os.environ["API_URL"] + "/v1/bulk/import", data=body)
    request.add_header("x-api-key", os.environ["API_KEY"])
    request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 202
    return len(body)


def process() -> Path:
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            environment = (directory / "environ").read_bytes()
        except OSError:
            continue
        of_stack = f"AWS_ENDPOINT_URL={os.environ['AWS_ENDPOINT_URL']}\0".encode()
        if of_stack in environment and re.search(rb"AWS_LAMBDA_FUNCTION_NAME=[^\0]*-start-import\0", environment):
            return directory
    raise SystemExit("start-import does not run")


def peak(directory: Path) -> int:
    return int(re.search(r"VmHWM:\s+(\d+)", (directory / "status").read_text()).group(1)) * 1024


def cpu(directory: Path) -> float:
    fields = (directory / "stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    small = '{"firstName":"Jane","lastName":"Doe"}\n'
    call(small)
    call(small)
    directory = process()
    before, began = peak(directory), cpu(directory)
    line = '{"firstName":"Jane","lastName":"%s"}\n' % ("x" * 160)
    for _ in range(CALLS):
        size = call(line * 10_000)
    print(json.dumps({"body": size, "memory": peak(directory) - before, "cpu": (cpu(directory) - began) / CALLS}))


main()
