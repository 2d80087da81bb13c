"""Lines, FHIR, the command line, cores and zips."""

import csv
import json
import os
import re
import subprocess
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from harness import (
    FUNCTIONS, MANY, QUICK, RECORDS, RELEASE, ROOT, RUNS, TYPE, WORK, Endpoint, Table, Worker, files, run_command, run_to_end, share_of_a_core,
)


def lines(table: Table) -> None:
    """Goal 10: Criterion's mean."""
    command = ["cargo", "bench", "--locked", "--manifest-path", "bench/Cargo.toml", "--target-dir", str(RELEASE.parent), "--bench", "lines", "--", "^frame, validate, store/observation", "--noplot"]
    if QUICK:
        command += ["--warm-up-time", "1", "--measurement-time", "2"]
    # Criterion writes where the environment says, and does not know cargo's option.
    environment = os.environ | {"CARGO_TARGET_DIR": str(RELEASE.parent)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    target = RELEASE.parent / "criterion" / "frame, validate, store"
    speeds = {}
    for directory in target.iterdir():
        if directory.name.startswith("observation"):
            for case in directory.iterdir():
                estimates = case / "new" / "estimates.json"
                if estimates.exists():
                    size = int(re.search(r"(\d+) bytes", case.name).group(1)) * 1_000
                    nanoseconds = json.loads(estimates.read_text())["mean"]["point_estimate"]
                    speeds["grammar" if "serde" in directory.name else "ours"] = size / nanoseconds * 1_000
    table.add("10", "framing, validating, stored line, one core", f"{speeds['ours']:.0f} MB/s", f"{speeds['grammar']:.0f} MB/s, serde_json's grammar alone",
              f"{speeds['ours'] / speeds['grammar']:.2f} (goal 800 MB/s and 0.75)",
              speeds["ours"] >= 800 and speeds["ours"] >= 0.75 * speeds["grammar"])


def fhir(table: Table) -> None:
    """Goal 14: Criterion's mean for a thousand records."""
    resources = WORK / "resources.ndjson"
    command = ["cargo", "bench", "--locked", "--manifest-path", "bench/Cargo.toml", "--target-dir", str(RELEASE.parent), "--bench", "fhir", "--", "--noplot"]
    environment = os.environ | {"CARGO_TARGET_DIR": str(RELEASE.parent), "FHIR_OUT": str(resources)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)

    def microseconds(case: str) -> float:
        estimates = RELEASE.parent / "criterion" / "fhir" / case / "new" / "estimates.json"
        return json.loads(estimates.read_text())["mean"]["point_estimate"] / 1_000_000

    peer = subprocess.run([ROOT / ".venv/bin/python", "bench/peers/python/fhir_peer.py", resources], cwd=ROOT, check=True, capture_output=True, text=True)
    python = float(peer.stdout)
    write, read = microseconds("write"), microseconds("read")
    table.add("14", "a record of 730 bytes as a FHIR resource, read back on the way", f"{write:.1f} µs", "≤ 15 µs", "", write <= 15)
    table.add("14", "the same, beside Python's fhir.resources, which reads and writes alone", f"{write:.1f} µs", f"{python:.1f} µs", f"1/{python / write:.1f}", None)
    table.add("14", "the resource as a record, losses counted", f"{read:.1f} µs", f"{python:.1f} µs, the same", f"1/{python / read:.1f}", None)


class NoSlot(BaseHTTPRequestHandler):
    """A service that shows its limits and takes nothing: what is measured is the planning."""

    protocol_version = "HTTP/1.1"

    def answer(self, status: int, body: dict, **headers: str) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in ({"content-type": "application/json", "content-length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        rate = {"limit": 5, "remaining": 0, "resetSeconds": 3600}
        batch = {"maxRecords": 10_000, "maxBodyBytes": 4_500_000, "maxUploadBytes": 104_857_600}
        month = {"limit": None, "used": 0, "remaining": None, "resetAt": "2100-01-01T00:00:00Z"}
        limits = {"tenantId": "bench", "plan": "enterprise", "environment": "test", "bulkOperations": rate, "requestsPerMinute": rate,
                  "requestsPerMonth": month, "batch": batch}
        self.answer(200, {"data": limits, "meta": {"requestId": "req_bench"}})

    def do_POST(self) -> None:
        self.answer(429, {"error": "Rate Limited", "message": "none left", "code": "RATE_LIMITED", "requestId": "req_bench"},
                    **{"retry-after": "3600"})

    def log_message(self, *_) -> None:
        pass


def command_line(table: Table) -> None:
    """What `clinik-bulk` takes to validate and to plan files of any size."""
    columns = ["id", "firstName", "lastName", "gender", "birthDate", "phone", "maritalStatus"]
    [ndjson] = files(MANY * 3, batch=MANY * 3)
    [patients] = files(MANY, "flat-patient", batch=MANY)
    sheet = WORK / "patients.csv"
    with patients.open() as records, sheet.open("w", newline="") as out:
        rows = csv.DictWriter(out, columns, extrasaction="ignore")
        rows.writeheader()
        rows.writerows(map(json.loads, records))
    service = ThreadingHTTPServer(("127.0.0.1", 0), NoSlot)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    environment = {
        "HOME": str(WORK), "CLINIKAPI_BASE_URL": f"http://127.0.0.1:{service.server_port}", "CLINIKAPI_SECRET_KEY": "clk_test_BENCHKEY000000",
    }

    def measure(name: str, path: Path, goal: float, *arguments: str, expected: int = 0) -> None:
        used = run_command([RELEASE / "clinik-bulk", "--quiet", *arguments], environment, expected)
        size = path.stat().st_size / 1e6
        table.add("", f"command line: {name}, {size:,.0f} MB", f"{size / used.cpu:.0f} MB/s a core", f"≥ {goal} MB/s a core",
                  f"{used.wall:.1f} s", size / used.cpu >= goal)
        table.add("", "the same: peak memory", f"{used.peak:.1f} MiB", "≤ 100 MB", "", used.peak < 95)

    measure("validate NDJSON", ndjson, 200, "validate", TYPE, str(ndjson))
    measure("validate CSV", sheet, 60, "validate", "Patient", str(sheet))
    measure("plan an import of NDJSON", ndjson, 200, "import", TYPE, str(ndjson), "--dry-run")
    state = WORK / "state"
    used = run_command([RELEASE / "clinik-bulk", "--quiet", "import", TYPE, str(ndjson), "--state", str(state), "--no-wait"], environment, 7)
    size = ndjson.stat().st_size / 1e6
    table.add("", "command line: plan, compress and keep", f"{size / used.wall:.0f} MB/s", "-", f"{used.wall:.1f} s, {used.peak:.1f} MiB", None)
    service.shutdown()


def cores(table: Table) -> None:
    """What a job costs with 1,769 MB, which is one core, against the 1,024 MB of the template: Lambda gives CPU by memory
    (https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html), and bills memory by time. At 7 ms a write and 25 ms
    a page."""
    shares = {memory: share_of_a_core(memory / 1_769) for memory in (1_024, 1_769)}
    if None in shares.values():
        table.add("", "1,769 MB against 1,024 MB", "left out: needs root for a share of a core", "", "", None)
        return
    endpoint = Endpoint()
    inputs = files(RECORDS)
    took: dict[str, dict[int, list[float]]] = {"import": {}, "export": {}}
    for _ in range(RUNS):
        for memory, core in shares.items():
            for what in took:
                kinds = [endpoint.prepare("import", TYPE, str(path)) for path in inputs] if what == "import" else [endpoint.prepare("export", TYPE)]
                worker = Worker([RELEASE / f"run-{what}"], endpoint.environment, core)
                time.sleep(0.5)  # It has started; that is no part of a job.
                endpoint.set(write_ms=7, query_ms=25)
                began = time.monotonic()
                for message in kinds:
                    run_to_end(endpoint, worker, message)
                took[what].setdefault(memory, []).append(time.monotonic() - began)
                worker.end()
    endpoint.close()
    for what, of in took.items():
        small, large = min(of[1_024]), min(of[1_769])
        price = 1_769 * large / (1_024 * small)
        table.add("", f"{what} of {RECORDS:,} with 1,769 MB, time against 1,024 MB", f"{large:.2f} s", f"{small:.2f} s",
                  f"{small / large:.2f} × as fast, {price:.2f} × the price", None)


def zips(table: Table) -> None:
    """Goal 11."""
    sizes = {}
    for function in FUNCTIONS:
        path = WORK / f"{function}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            archive.write(RELEASE / function, "bootstrap")
        sizes[function] = path.stat().st_size / 1e6
    largest = max(sizes, key=sizes.get)
    table.add("11", "the largest function's zip", f"{sizes[largest]:.1f} MB ({largest})", "≤ 6 MB", "", sizes[largest] <= 6)
