"""Measures the processors' peak memory on the running local stack (make up).

Imports 200,000 observations of about 730 bytes in 20 batches of 10,000, exports them all, and prints the
peak resident memory (VmHWM) of the processors' processes after each step. Linux only: it reads /proc.
"""

import gzip
import json
import os
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENV = dict(
    line.removeprefix("export ").split("=", 1) for line in (ROOT / ".local" / "env").read_text().splitlines()
)
ENV = {name: value.strip("'") for name, value in ENV.items()}
BATCHES, BATCH = int(os.environ.get("BATCHES", "20")), 10_000


def call(method: str, path: str, body: bytes | None = None, headers: dict | None = None) -> dict:
    request = urllib.request.Request(ENV["API_URL"] + path, data=body, method=method)
    for name, value in {"x-api-key": ENV["API_KEY"], **(headers or {})}.items():
        request.add_header(name, value)
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)["data"]


def ended(job_id: str) -> dict:
    while True:
        job = call("GET", f"/v1/bulk/jobs/{job_id}")
        if job["status"] in ("completed", "failed"):
            return job
        time.sleep(0.5)


def observation(number: int) -> str:
    return json.dumps({
        "id": f"obs-{number:07}", "status": "final",
        "code": {"system": "http://loinc.org", "code": "8867-4", "display": "Heart rate"},
        "patientId": f"pat-{number % 5000:05}", "encounterId": f"enc-{number % 20000:06}",
        "performerId": f"prac-{number % 50}", "effectiveDateTime": "2025-03-01T09:05:00Z",
        "valueQuantity": {"value": 60 + number % 40, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"},
        "valueString": "measured at rest, seated, left arm, after five minutes " * 6,
    }, separators=(",", ":"))


def peaks() -> dict[str, float]:
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            status = (process / "status").read_text()
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
        names = [item.split(b"=", 1)[1].decode() for item in environment if item.startswith(b"AWS_LAMBDA_FUNCTION_NAME=")]
        if names and "VmHWM:" in status:
            name = names[0].removeprefix("clinik-bulk-")
            found[name] = max(found.get(name, 0), int(status.split("VmHWM:")[1].split()[0]) / 1024)
    return found


def main() -> None:
    for batch in range(BATCHES):
        data = "\n".join(observation(batch * BATCH + number) for number in range(BATCH))
        body = gzip.compress(json.dumps({"resourceType": "Observation", "data": data}).encode(), 1)
        headers = {"Content-Type": "application/fhir+json", "Content-Encoding": "gzip"}
        start = time.time()
        job = ended(call("POST", "/v1/bulk/import", body, headers)["jobId"])
        assert job["succeededRecords"] == BATCH, job
        print(f"import {batch + 1} of {len(data) / 1e6:.1f} MB in {time.time() - start:.1f} s, peaks in MiB: {peaks()}", flush=True)
    start = time.time()
    body = json.dumps({"resourceTypes": ["Observation"]}).encode()
    job = ended(call("POST", "/v1/bulk/export", body, {"Content-Type": "application/json"})["jobId"])
    print(f"export of {job['totalRecords']} in {time.time() - start:.1f} s, peaks in MiB: {peaks()}")
    with urllib.request.urlopen(job["downloadUrl"]) as file:
        lines = sum(1 for _ in file)
    assert lines == job["totalRecords"], lines


main()
