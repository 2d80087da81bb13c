"""Measures the service beside its peers, and prints one table: goal, ours, peer, ratio, holds.

    make bench            100,000 observations, a million for memory, five runs each (some ten minutes)
    make bench QUICK=1    the same on small inputs, once each (under three minutes once everything is built)

The processors are the release binaries as they are deployed; this script plays Lambda's runtime API to them.
`endpoint` stands for AWS, in a process of its own. The peers are what a user would write instead, on the AWS
SDKs of Node and Python, doing the same on the same bytes. CPU is user and system time of the worker's process
alone, memory its peak (VmHWM). Before speeds are compared, outputs are. Linux only: it reads /proc.
"""

import datetime
import hashlib
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

from harness import (
    BATCH, FUNCTIONS, KEY, MANY, PEERS, QUICK, RECORDS, RELEASE, ROOT, RUNS, TYPE, WORK, Endpoint, Table, Usage,
    Worker, file_of, files, measured, node, peak_of, python, run_ours, run_peer, same, sorted_hash,
)


def import_and_export(endpoint: Endpoint, table: Table) -> None:
    """Goals 1, 2 and 5, after the outputs have been found equal."""
    inputs = files(RECORDS)
    keys = [f"peers/{path.name}" for path in inputs]
    for key, path in zip(keys, inputs):
        endpoint.put(key, path)
    results: dict[str, list[Usage]] = {}
    hashes = {}
    for run in range(RUNS):
        messages = [endpoint.prepare("import", TYPE, str(path)) for path in inputs]
        endpoint.set()
        results.setdefault("import ours", []).append(run_ours(endpoint, "run-import", messages))
        counts = endpoint.stats()
        message = endpoint.prepare("export", TYPE)
        endpoint.set()
        results.setdefault("export ours", []).append(run_ours(endpoint, "run-export", [message]))
        exported = endpoint.stats()
        ours = file_of(endpoint, message)
        for name, command in (
            ("import node", node("import.mjs", TYPE, *keys)),
            ("export node maps", node("export.mjs", "maps", "node#live", TYPE, "node-maps")),
            ("export node lines", node("export.mjs", "lines", "bench#live", TYPE, "node-lines")),
            ("import python", python("importer.py", TYPE, *keys)),
            ("export python maps", python("exporter.py", "maps", "python#live", TYPE, "python-maps")),
            ("export python lines", python("exporter.py", "lines", "bench#live", TYPE, "python-lines")),
        ):
            if RUNS > 1 and run > 1 and "python" in name:
                continue  # Minutes each, and steady: two runs tell.
            results.setdefault(name, []).append(run_peer(endpoint, command))
        if run == 0:
            hashes = {name: same(endpoint.object(name)) for name in ("node-maps", "node-lines", "python-maps", "python-lines")}
            if set(hashes.values()) != {same(ours)} or sorted_hash(ours) != sorted_hash(endpoint.object("node-lines")):
                raise SystemExit(f"the outputs differ: {hashes}")
            if len(ours.splitlines()) != RECORDS:
                raise SystemExit("records are missing")
    cpu = {name: measured(runs) for name, runs in results.items()}

    def compare(goal, what, ours, peer, most, stretch):
        ratio = cpu[ours][0] / cpu[peer][0]
        wanted = ", ".join(f"{name} 1/{bound}" for name, bound in (("goal", most), ("stretch", stretch)) if bound)
        verdict = f"1/{1 / ratio:.1f}" + (f" ({wanted})" if wanted else "")
        table.add(goal, what, cpu[ours][1], cpu[peer][1], verdict, ratio <= 1 / most if most else None)

    compare("1", f"import CPU, {RECORDS:,} observations, beside Node", "import ours", "import node", 5, 8)
    compare("1", "the same, beside Python", "import ours", "import python", 19, 31)
    compare("2", "export CPU, beside Node with map items", "export ours", "export node maps", 6, 10)
    compare("2", "the same, beside Node with raw lines", "export ours", "export node lines", None, 4)
    compare("2", "the same, beside Python with map items", "export ours", "export python maps", None, None)
    compare("2", "the same, beside Python with raw lines", "export ours", "export python lines", None, None)
    batches = sum(-(-min(BATCH, RECORDS - first) // 25) for first in range(0, RECORDS, BATCH))
    table.add("5", "BatchWriteItem calls", str(counts["batch_writes"]), f"{batches} = ⌈valid/25⌉", "", counts["batch_writes"] == batches)
    writes = counts["job_writes"] / len(inputs)
    table.add("5", "job writes per import of 10,000", f"{writes:.1f}", "≤ 12", "", writes <= 12)
    size = len(ours)
    pages, slices = -(-size // (1 << 20)), 16
    table.add("5", "queries of an export", str(exported["queries"]), f"{pages + slices} = ⌈bytes/1 MiB⌉ + slices", "", exported["queries"] <= pages + slices)
    parts = -(-size // (8 << 20)) + 2
    table.add("5", "parts of an export", str(exported["parts"]), f"≤ {parts}", "", exported["parts"] <= parts)
    most = -(-size // (8 << 20)) + 10
    table.add("5", "job writes of an export", str(exported["job_writes"]), f"≤ {most}", "", exported["job_writes"] <= most)


def memory(table: Table) -> None:
    """Goal 3: peaks from 10,000 to a million records, of fresh processes, and one hash for what went in and came out."""
    peaks = {}
    full = 50_000  # From here on an export has parts enough to fill all its buffers.
    for count in sorted({10_000, full, MANY}):
        endpoint = Endpoint()
        worker = Worker([RELEASE / "run-import"], endpoint.environment)
        sent = 0
        for path in files(count):
            worker.deliver(endpoint.prepare("import", TYPE, str(path)))
            for line in path.read_bytes().splitlines():
                kept = line.split(b",", 1)[1]
                sent += int.from_bytes(hashlib.blake2b(kept, digest_size=16).digest(), "big")
        imported = worker.end()
        message = endpoint.prepare("export", TYPE)
        exported = run_ours(endpoint, "run-export", [message])
        content = file_of(endpoint, message)
        came = lines = 0
        for line in content.splitlines():
            kept = line[line.index(b'"status":'):]
            came += int.from_bytes(hashlib.blake2b(kept, digest_size=16).digest(), "big")
            lines += 1
        if lines != count or came != sent:
            raise SystemExit(f"{count} records went in, {lines} came out, or not as they were sent")
        peaks[count] = (imported, exported)
        endpoint.process.kill()
        del content
    for index, name, most in ((0, "import", 32), (1, "export", 64)):
        small, large = peaks[10_000][index].peak, peaks[MANY][index].peak
        table.add("3", f"{name}: peak memory at {MANY:,} records", f"{large:.1f} MiB", f"{small:.1f} MiB at 10,000; ≤ {most} MB",
                  f"{large / small:.2f}", large <= 1.1 * small and large * 1.048576 <= most)
    filled, large = peaks[full][1].peak, peaks[MANY][1].peak
    table.add("3", "the same beside one whose buffers are all filled", f"{large:.1f} MiB", f"{filled:.1f} MiB at {full:,}", f"{large / filled:.2f}", None)
    endpoint = Endpoint()
    rejects = WORK / "rejects.ndjson"
    rejects.write_bytes(b"".join(b'{"id":"bad-%d","status":1,"note":"%s"}\n' % (n, b"x" * 680) for n in range(BATCH)))
    worker = Worker([RELEASE / "run-import"], endpoint.environment)
    worker.deliver(endpoint.prepare("import", TYPE, str(rejects)))
    peak = worker.end().peak
    table.add("3", "import of 10,000 rejected lines", f"{peak:.1f} MiB", "≤ 48 MB", "", peak * 1.048576 <= 48)
    endpoint.process.kill()


def cold_start(endpoint: Endpoint, table: Table) -> None:
    """Goal 4: from the start of the process to the first answer of a status call."""
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


def since(table: Table) -> None:
    """Goal 6: an export of a result of the same size from a table ten times as large, in turns."""
    changed = 2_000
    part = WORK / "changed.ndjson"
    part.write_bytes(b"".join(files(BATCH)[0].read_bytes().splitlines(keepends=True)[:changed]))
    endpoints, moments = {}, {}
    for size in (BATCH, 10 * BATCH):
        endpoint = endpoints[size] = Endpoint()
        run_ours(endpoint, "run-import", [endpoint.prepare("import", TYPE, str(path)) for path in files(size)])
        time.sleep(0.05)
        moments[size] = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        time.sleep(0.05)
        run_ours(endpoint, "run-import", [endpoint.prepare("import", TYPE, str(part))])
    units, taken, result = {}, {size: [] for size in endpoints}, 0
    for turn in range(20 if QUICK else 80):
        for size, endpoint in sorted(endpoints.items(), reverse=turn % 2 == 1):
            message = endpoint.prepare("export", TYPE, moments[size])
            endpoint.set()
            worker = Worker([RELEASE / "run-export"], endpoint.environment)
            began = time.monotonic()
            worker.deliver(message)
            taken[size].append(time.monotonic() - began)
            worker.end()
            content = file_of(endpoint, message)
            if len(content.splitlines()) != changed:
                raise SystemExit(f"{len(content.splitlines())} of {changed} changed records were exported")
            units[size], result = endpoint.stats()["read_units"], len(content)
    for endpoint in endpoints.values():
        endpoint.process.kill()
    most = 1.1 * result / 8192 + 16
    table.add("6", f"read units of {changed:,} changed records", f"{units[BATCH]:.1f}", f"≤ {most:.1f}", "", units[BATCH] <= most)
    table.add("6", "the same, of a table ten times as large", f"{units[10 * BATCH]:.1f}", f"{units[BATCH]:.1f}",
              f"{units[10 * BATCH] / units[BATCH]:.3f} (goal 1.05)", units[10 * BATCH] <= 1.05 * units[BATCH])
    # The least of some tens of milliseconds is chance; the median is not.
    small, large = statistics.median(taken[BATCH]), statistics.median(taken[10 * BATCH])
    table.add("6", "the median time of both", f"{large * 1000:.1f} ms", f"{small * 1000:.1f} ms", f"{large / small:.2f} (goal 1.05)", large <= 1.05 * small)


def throttled(table: Table) -> None:
    """Goal 7: a store whose partitions take 1,000 write units a second, at 7 ms a call."""
    endpoint = Endpoint()
    # The bound: after the first second's savings, 16 partitions of a thousand; slow enough to be seen.
    rate, count = (250, 3 * BATCH) if QUICK else (1_000, RECORDS)
    inputs = files(count)
    messages = [endpoint.prepare("import", TYPE, str(path)) for path in inputs]
    endpoint.set(write_units=rate, write_ms=7)
    began = time.monotonic()
    run_ours(endpoint, "run-import", messages)
    took = time.monotonic() - began
    stats = endpoint.stats()
    bound = max(stats["write_units"] / (16 * rate) - 1, 0.001)
    refused = stats["items_refused"] / (stats["items_refused"] + stats["items_written"])
    table.add("7", f"throttled store, {rate:,} units a partition", f"{took:.1f} s", f"{bound:.1f} s, the bound", f"{took / bound:.2f} (goal 1.25)", took <= 1.25 * bound)
    table.add("7", "writes refused by it", f"{100 * refused:.1f} %", "≤ 5 %", "", refused <= 0.05)
    endpoint.process.kill()


def segments(table: Table) -> None:
    """Goal 8: one export by four processes and by one, of a store that takes 100 ms a page: on two cores less
    would leave one segment too little idle. Of 300,000 records: the least that the service cuts in four by itself."""
    endpoint = Endpoint()
    count_of_records = 150_000 if QUICK else 300_000
    run_ours(endpoint, "run-import", [endpoint.prepare("import", TYPE, str(path)) for path in files(count_of_records)])
    took = {}
    for count in (1, 4):
        endpoint.environment["EXPORT_SEGMENTS"] = str(count)
        message = endpoint.prepare("export", TYPE)
        endpoint.set(query_ms=100)
        workers = [Worker([RELEASE / "run-export"], endpoint.environment) for _ in range(count)]
        time.sleep(0.5)
        began = time.monotonic()
        threads = []

        def deliver(worker: Worker, text: str) -> None:
            worker.deliver(text)

        free = list(workers)
        threads.append(threading.Thread(target=deliver, args=(free.pop(0), message)))
        threads[0].start()
        while any(thread.is_alive() for thread in threads):
            for text in endpoint.messages():
                thread = threading.Thread(target=deliver, args=(free.pop(0) if free else workers[0], text))
                thread.start()
                threads.append(thread)
            time.sleep(0.01)
        took[count] = time.monotonic() - began
        lines = len(file_of(endpoint, message).splitlines())
        if lines != count_of_records:
            raise SystemExit(f"{lines} of {count_of_records:,} records were exported")
        for worker in workers:
            worker.end()
    table.add("8", f"an export of {count_of_records:,} by 4 segments, slow store", f"{took[4]:.1f} s", f"{took[1]:.1f} s by 1", f"{took[1] / took[4]:.1f} × (goal 3)", took[1] >= 3 * took[4])
    endpoint.process.kill()


def lines(table: Table) -> None:
    """Goal 9: Criterion's mean."""
    command = ["cargo", "bench", "--locked", "--package", "bench", "--bench", "lines", "--", "^frame, validate, store/observation", "--noplot"]
    if QUICK:
        command += ["--warm-up-time", "1", "--measurement-time", "2"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
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
    table.add("9", "framing, validating, stored line, one core", f"{speeds['ours']:.0f} MB/s", f"{speeds['grammar']:.0f} MB/s, serde_json's grammar alone",
              f"{speeds['ours'] / speeds['grammar']:.2f} (goal 400 MB/s)", speeds["ours"] >= 400)


def accept(endpoint: Endpoint, table: Table) -> None:
    """What a start function takes for a body of 2 MB: CPU, and memory beyond that of small calls."""
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
    table.add("", "accepting 10,000 lines (2 MB): CPU", f"{took * 1000:.0f} ms", "≤ 50 ms", "", took <= 0.05)
    table.add("", "the same: memory beyond small calls", f"{grown / 1e6:.1f} MB", f"{size / 1e6:.1f} MB, the body", f"{grown / size:.1f} × (goal 4)", grown < 4 * size)


def zips(table: Table) -> None:
    """Goal 10."""
    sizes = {}
    for function in FUNCTIONS:
        path = WORK / f"{function}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            archive.write(RELEASE / function, "bootstrap")
        sizes[function] = path.stat().st_size / 1e6
    largest = max(sizes, key=sizes.get)
    table.add("10", "the largest function's zip", f"{sizes[largest]:.1f} MB ({largest})", "≤ 6 MB", "", sizes[largest] <= 6)


def machine() -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text()).group(1)) / 1024 / 1024
    versions = [subprocess.run(command, capture_output=True, text=True).stdout.strip() for command in (["rustc", "--version"], ["node", "--version"])]
    return f"{os.cpu_count()} cores ({model.group(1) if model else platform.machine()}), {memory:.0f} GiB, {platform.system()}; {versions[0]}, Node {versions[1]}, Python {platform.python_version()}"


def main() -> None:
    table = Table()
    endpoint = Endpoint()
    began = time.monotonic()
    wanted = sys.argv[1:]
    steps = {
        "import-and-export": lambda: import_and_export(endpoint, table), "memory": lambda: memory(table),
        "cold-start": lambda: cold_start(endpoint, table), "since": lambda: since(table), "throttled": lambda: throttled(table),
        "segments": lambda: segments(table), "lines": lambda: lines(table), "accept": lambda: accept(endpoint, table), "zips": lambda: zips(table),
    }
    try:
        for name, step in steps.items():
            if not wanted or name in wanted:
                step()
    finally:
        endpoint.process.kill()
    print(f"{machine()}\n{'Small inputs, once each' if QUICK else f'{RUNS} runs each'}, {time.monotonic() - began:.0f} s\n")
    print(table.show())


main()
