"""What a call takes, from cold start to completed."""

import json
import os
import statistics
import subprocess
import time
from pathlib import Path

from harness import (
    KEY, PEERS, QUICK, RELEASE, ROOT, TYPE, WORK, Endpoint, Table, Worker, peak_of, python, run_to_end,
)



def cold_start(table: Table) -> None:
    """Goal 4: from the start of the process to the first answer of a status call."""
    endpoint = Endpoint()
    bundle = WORK / "status.mjs"
    subprocess.run([str(PEERS / "node" / "node_modules" / ".bin" / "esbuild"), str(PEERS / "node" / "status.mjs"), "--bundle",
                    "--platform=node", "--format=esm", "--minify", f"--outfile={bundle}", "--log-level=error",
                    "--banner:js=import { createRequire } from 'module'; const require = createRequire(import.meta.url);"], check=True)
    job = json.loads(endpoint.prepare("export", TYPE))["jobId"]
    event = json.loads((ROOT / "events" / "get-job" / "job.json").read_text())
    event["pathParameters"]["jobId"] = job
    event["headers"]["x-api-key"] = KEY
    endpoint.prepare("key", KEY)
    times: dict[str, list[float]] = {"ours": [], "node": [], "python": []}
    for _ in range(3 if QUICK else 11):
        for name, command in (("ours", [RELEASE / "get-job"]), ("node", ["node", str(bundle)]), ("python", python("status.py"))):
            worker = Worker(command, endpoint.environment)
            body = worker.invoke(event)
            times[name].append((worker.answered - worker.began) * 1000)
            if json.loads(body)["statusCode"] != 200:
                raise SystemExit(f"{name} did not answer: {body.decode()}")
            worker.process.kill()
            worker.process.wait()
            worker.server.shutdown()
            worker.server.server_close()
    ours = min(times["ours"])
    for name, label in (("node", "bundled Node"), ("python", "Python")):
        peer = min(times[name])
        table.add("4", f"cold start of a status call, beside {label}", f"{ours:.0f} ms (median {statistics.median(times['ours']):.0f})",
                  f"{peer:.0f} ms", f"1/{peer / ours:.1f} (goal 1/10)", ours <= peer / 10)
    endpoint.close()


def accept(table: Table) -> None:
    """What a start function takes for a body of 2 MB: CPU, and memory beyond that of small calls."""
    endpoint = Endpoint()
    endpoint.prepare("key", KEY)
    event = json.loads((ROOT / "events" / "start-import" / "two-patients.json").read_text())
    event["headers"]["x-api-key"] = KEY
    worker = Worker([RELEASE / "start-import"], endpoint.environment)

    def call(data: str) -> int:
        event["body"] = json.dumps({"resourceType": "Patient", "data": data})
        if json.loads(worker.invoke(event))["statusCode"] != 202:
            raise SystemExit("the import was not accepted")
        return len(event["body"])

    def cpu() -> float:
        fields = Path(f"/proc/{worker.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    for _ in range(2):
        call('{"firstName":"Jane","lastName":"Doe"}\n')
    before, began, calls = peak_of(worker.process.pid), cpu(), 10
    line = '{"firstName":"Jane","lastName":"%s"}\n' % ("x" * 160)
    for _ in range(calls):
        size = call(line * 10_000)
    took, grown = (cpu() - began) / calls, (peak_of(worker.process.pid) - before) * 1024 * 1024
    worker.end()
    endpoint.close()
    table.add("", "accepting 10,000 lines (2 MB): CPU", f"{took * 1000:.0f} ms", "≤ 50 ms", "", took <= 0.05)
    table.add("", "the same: memory beyond small calls", f"{grown / 1e6:.1f} MB", f"{size / 1e6:.1f} MB, the body", f"{grown / size:.1f} × (goal 4)", grown < 4 * size)


def accept_to_completed(table: Table) -> None:
    """Goal 12: both functions of a small import, warm, while all that they call answers at once."""
    endpoint = Endpoint()
    endpoint.prepare("key", KEY)
    event = json.loads((ROOT / "events" / "start-import" / "two-patients.json").read_text())
    event["headers"]["x-api-key"] = KEY
    data = '{"firstName":"Jane","lastName":"Doe","gender":"female","birthDate":"1990-01-15"}\n' * 100
    event["body"] = json.dumps({"resourceType": "Patient", "data": data})
    starter, importer = (Worker([RELEASE / name], endpoint.environment) for name in ("start-import", "run-import"))
    took = []
    for _ in range(30):
        began = time.monotonic()
        if json.loads(starter.invoke(event))["statusCode"] != 202:
            raise SystemExit("the import was not accepted")
        accepted = starter.answered - began
        [message] = endpoint.messages()
        began = time.monotonic()
        run_to_end(endpoint, importer, message)
        took.append(accepted + importer.answered - began)
    for worker in (starter, importer):
        worker.end()
    endpoint.close()
    median = statistics.median(took[5:]) * 1000
    table.add("12", "accept to completed, 100 records, all that is called answers at once", f"{median:.0f} ms", "≤ 50 ms", "", median <= 50)
