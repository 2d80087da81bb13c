"""The whole story on the local stack: import the samples, poll, export, download.

Uses nothing but the API, as any client would."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = {
    "Patient": "patients", "Practitioner": "practitioners", "Encounter": "encounters",
    "Observation": "observations", "Condition": "conditions", "MedicationRequest": "medication-requests",
}


def settings() -> dict[str, str]:
    path = ROOT / ".local" / "env"
    if not path.exists():
        sys.exit("error: nothing is running; start it with make up")
    pairs = (line.removeprefix("export ").split("=", 1) for line in path.read_text().splitlines())
    return {name: value.strip("'") for name, value in pairs}


SETTINGS = settings()


def call(method: str, path: str, body: dict | None = None) -> dict:
    request = urllib.request.Request(SETTINGS["API_URL"] + path, method=method)
    request.add_header("x-api-key", SETTINGS["API_KEY"])
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        sys.exit(f"error: {method} {path} answered {error.code}: {error.read().decode()}")
    except urllib.error.URLError as error:
        sys.exit(f"error: the service does not answer ({error.reason}); start it with make up")


def ended(title: str, job_id: str) -> dict:
    """Polls a job until it has ended, and draws how far it is."""
    while True:
        job = call("GET", f"/v1/bulk/jobs/{job_id}")
        done, total = job["processedRecords"], job["totalRecords"]
        bar = "#" * (30 * done // total if total else 0)
        print(f"\r  {title:<34} [{bar:<30}] {done:>4}/{total:<4} {job['status']:<10}", end="", flush=True)
        if job["status"] in ("completed", "failed"):
            print()
            return job
        time.sleep(0.2)


def main() -> None:
    print("importing the samples of events/samples/")
    for resource_type, name in SAMPLES.items():
        data = (ROOT / "events" / "samples" / f"{name}.ndjson").read_text()
        started = call("POST", "/v1/bulk/import", {"resourceType": resource_type, "data": data})
        ended(resource_type, started["jobId"])

    print("importing a batch with faults: the valid line is stored, the others are reported")
    data = (ROOT / "events" / "samples" / "patients-with-faults.ndjson").read_text()
    started = call("POST", "/v1/bulk/import", {"resourceType": "Patient", "data": data})
    for error in ended("Patient, with faults", started["jobId"])["errors"]:
        print(f"    line {error['line']}: {error['code']}: {error['message']}")

    print("exporting everything")
    started = call("POST", "/v1/bulk/export", {"resourceTypes": list(SAMPLES)})
    job = ended("all types", started["jobId"])
    print("downloading the file")
    with urllib.request.urlopen(job["downloadUrl"], timeout=60) as file:
        lines = file.read().decode().splitlines()
    target = ROOT / ".local" / "export.ndjson"
    target.write_text("".join(f"{line}\n" for line in lines))
    for line in lines[:5]:
        print(f"  {line[:150]}{'…' if len(line) > 150 else ''}")
    print(f"  … {len(lines)} records in {target.relative_to(ROOT)}; the next export's since: {job['transactionTime']}")


main()
