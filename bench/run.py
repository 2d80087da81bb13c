"""Measures the service beside its peers, and prints one table: goal, ours, peer, ratio, holds.

    make bench            100,000 observations, a million for memory, five runs each (some ten minutes)
    make bench QUICK=1    the same on small inputs, once each (under three minutes once everything is built)

The processors are the release binaries as they are deployed; this script plays Lambda's runtime API to them.
`endpoint` stands for AWS, in a process of its own. The peers are what a user would write instead, on the AWS
SDKs of Node and Python, doing the same on the same bytes. CPU is user and system time of the worker's process
alone, memory its peak (VmHWM). Before speeds are compared, outputs are. Linux only: it reads /proc.
"""

import csv
import datetime
import gzip
import hashlib
import io
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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pictures
from harness import (
    BATCH, FUNCTIONS, KEY, MANY, PEERS, QUICK, RECORDS, RELEASE, ROOT, RUNS, TYPE, WORK, Endpoint, Table, Usage,
    Worker, file_of, files, imported, measured, node, peak_of, python, run_ours, run_command, run_peer, run_to_end, same,
    share_of_a_core, sorted_hash,
)

MIB = 1 << 20
SHARDS = 16

# Peaks in MiB by worker and number of records, for the picture.
PEAKS: dict[str, dict[int, float]] = {}


def up(count: float, of: int) -> int:
    """How many of that size it takes."""
    return -(-int(count) // of)


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def import_all(endpoint: Endpoint, paths: list[Path], resource_type: str = TYPE) -> Usage:
    """Imports files in one process; every one of their records has to be written."""
    messages = [endpoint.prepare("import", resource_type, str(path)) for path in paths]
    used = run_ours(endpoint, "run-import", messages)
    for message, path in zip(messages, paths):
        if imported(endpoint, message) != path.read_bytes().count(b"\n"):
            raise SystemExit(f"{imported(endpoint, message)} records of {path.name} were imported")
    return used


def note_peak(name: str, count: int, used: Usage) -> None:
    points = PEAKS.setdefault(name, {})
    points[count] = max(points.get(count, 0.0), used.peak)


def peers(keys: list[str]) -> dict[str, list]:
    """The commands of all peers. Exports follow the imports whose records they read."""
    return {
        "import, Node": node("import.mjs", TYPE, *keys),
        "export, Node, maps": node("export.mjs", "maps", "node#live", TYPE, "node-maps"),
        "export, Node, raw lines": node("export.mjs", "lines", "bench#live", TYPE, "node-lines"),
        "import, Python": python("importer.py", TYPE, *keys),
        "export, Python, maps": python("exporter.py", "maps", "python#live", TYPE, "python-maps"),
        "export, Python, raw lines": python("exporter.py", "lines", "bench#live", TYPE, "python-lines"),
    }


def import_and_export(table: Table) -> None:
    """Goals 1, 2, 6 and 13, after the outputs have been found equal."""
    endpoint = Endpoint()
    inputs = files(RECORDS)
    keys = [f"peers/{path.name}" for path in inputs]
    for key, path in zip(keys, inputs):
        endpoint.put(key, path)
    results: dict[str, list[Usage]] = {}
    for run in range(RUNS):
        messages = [endpoint.prepare("import", TYPE, str(path)) for path in inputs]
        endpoint.set()
        results.setdefault("import", []).append(run_ours(endpoint, "run-import", messages))
        counts = endpoint.stats()
        message = endpoint.prepare("export", TYPE)
        endpoint.set()
        results.setdefault("export", []).append(run_ours(endpoint, "run-export", [message]))
        exported = endpoint.stats()
        ours = file_of(endpoint, message)
        message = endpoint.prepare("export-gzip", TYPE)
        results.setdefault("export, gzip", []).append(run_ours(endpoint, "run-export", [message]))
        zipped = file_of(endpoint, message)
        for name, command in peers(keys).items():
            if RUNS > 1 and run > 1 and "Python" in name:
                continue  # Minutes each, and steady: two runs tell.
            results.setdefault(name, []).append(run_peer(endpoint, command))
        if run == 0:
            hashes = {name: same(endpoint.object(name)) for name in ("node-maps", "node-lines", "python-maps", "python-lines")}
            raw = {sorted_hash(ours), sorted_hash(gzip.decompress(zipped)), sorted_hash(endpoint.object("node-lines"))}
            if set(hashes.values()) != {same(ours)} or len(raw) != 1:
                raise SystemExit(f"the outputs differ: {hashes}, {raw}")
            if len(ours.splitlines()) != RECORDS:
                raise SystemExit("records are missing")
    endpoint.close()
    for name, runs in results.items():
        if "raw lines" not in name:
            for used in runs:
                note_peak(name.removesuffix(", maps"), RECORDS, used)
    cpu = {name: measured(runs) for name, runs in results.items()}

    def compare(goal: str, what: str, ours: str, peer: str, most: float | None = None, stretch: int | None = None) -> None:
        ratio = cpu[ours][0] / cpu[peer][0]
        wanted = ", ".join(f"{name} 1/{bound}" for name, bound in (("goal", most), ("stretch", stretch)) if bound)
        verdict = f"1/{1 / ratio:.1f}" + (f" ({wanted})" if wanted else "")
        table.add(goal, what, cpu[ours][1], cpu[peer][1], verdict, ratio <= 1 / most if most else None)

    compare("1", f"import CPU, {RECORDS:,} observations, beside Node", "import", "import, Node", 8, 10)
    compare("1", "the same, beside Python", "import", "import, Python", 36)
    compare("2", "export CPU, beside Node with map items", "export", "export, Node, maps", 18)
    compare("2", "the same, beside Node with raw lines", "export", "export, Node, raw lines", 4.5, 6)
    compare("2", "the same, beside Python with map items", "export", "export, Python, maps")
    compare("2", "the same, beside Python with raw lines", "export", "export, Python, raw lines")

    sizes = [min(BATCH, RECORDS - first) for first in range(0, RECORDS, BATCH)]
    at_most(table, "6", "BatchWriteItem calls of an import", counts["batch_writes"], sum(up(size, 25) for size in sizes), "⌈valid/25⌉")
    at_most(table, "6", "change items of an import", counts["change_puts"], sum(up(size, 100) for size in sizes), "⌈valid/100⌉")
    at_most(table, "6", "job writes per import of 10,000", counts["job_writes"] / len(inputs), 4)
    pages = up(exported["query_bytes"], MIB) + SHARDS
    at_most(table, "6", "queries of an export that read", exported["queries"], pages, "⌈bytes of items/1 MiB⌉ + shards")
    at_most(table, "6", "queries of an export that count", exported["counts"], pages, "the same")
    at_most(table, "6", "chunks of an export, copied", exported["parts"], up(len(ours), 8 * MIB) + 2, "⌈bytes/8 MiB⌉ + 2")
    time_slices = 1 + exported["messages"]
    most = int(results["export"][-1].wall) + 4 + 2 * time_slices + 1
    at_most(table, "6", "job writes of an export", exported["job_writes"], most, "seconds + 4 + 2 per time slice + 1")

    speed = len(ours) / 1e6 / cpu["export, gzip"][0]
    table.add("13", "gzip export: lines per second of CPU", f"{speed:.0f} MB/s", "≥ 100 MB/s", cpu["export, gzip"][1], speed >= 100)
    share = len(ours) / len(zipped)
    table.add("13", "its file beside the plain one", f"{len(zipped) / 1e6:.1f} MB", f"{len(ours) / 1e6:.1f} MB", f"1/{share:.1f} (goal 1/8)", share >= 8)
    if not QUICK:
        labels = {"import": "this service", "export": "this service", "export, gzip": "this service, gzip"}
        draw("cpu.svg", pictures.cpu, RECORDS, {
            kind.capitalize(): {labels.get(name, name.removeprefix(f"{kind}, ")): cpu[name][0] for name in cpu if name.startswith(kind)}
            for kind in ("import", "export")
        })


def at_most(table: Table, goal: str, what: str, ours: float, most: float, why: str = "") -> None:
    """A row of a count and its bound."""
    bound = f"≤ {most:,}" + (f" = {why}" if why else "")
    table.add(goal, what, f"{ours:,.1f}" if isinstance(ours, float) else f"{ours:,}", bound, "", ours <= most)


def draw(name: str, picture, *arguments) -> None:
    (ROOT / "docs").mkdir(exist_ok=True)
    picture(ROOT / "docs" / name, *arguments)


def kept_hash(line: bytes) -> int:
    """Of what an import keeps as it came: all from an observation's status on. Sums of it do not know an order."""
    return int.from_bytes(hashlib.blake2b(line[line.index(b'"status":'):].rstrip(b"\n"), digest_size=16).digest(), "big")


def memory(table: Table) -> None:
    """Goal 3: peaks from 10,000 to a million records, of fresh processes, and one hash for what went in and came out."""
    full = MANY // 5  # So many that chunks are cut in plain and gzip files: all buffers are at work.
    sizes = sorted({10_000, full, 100_000, MANY})
    peaks: dict[str, dict[int, float]] = {"import": {}, "export": {}, "gzip export": {}}
    for count in sizes:
        endpoint = Endpoint()
        paths = files(count)
        used = import_all(endpoint, paths)
        note_peak("import", count, used)
        peaks["import"][count] = used.peak
        sent = 0
        for path in paths:
            with path.open("rb") as lines_sent:
                sent += sum(map(kept_hash, lines_sent))
        for name, command in (("export", "export"), ("gzip export", "export-gzip")):
            message = endpoint.prepare(command, TYPE)
            used = run_ours(endpoint, "run-export", [message])
            note_peak("export" if name == "export" else "export, gzip", count, used)
            peaks[name][count] = used.peak
            content = io.BytesIO(file_of(endpoint, message))
            came = lines_came = 0
            for line in content if name == "export" else gzip.GzipFile(fileobj=content):
                came += kept_hash(line)
                lines_came += 1
            if lines_came != count or came != sent:
                raise SystemExit(f"{count} records went in, {lines_came} came out, or not as they were sent")
            del content
        endpoint.close()
    for name, most in (("import", 32), ("export", 72), ("gzip export", 72)):
        small, large = peaks[name][full], peaks[name][MANY]
        table.add("3", f"{name}: peak memory at {MANY:,} records", f"{large:.1f} MiB", f"≤ {most} MB", "", large * 1.048576 <= most)
        table.add("3", "its growth", f"{large:.1f} MiB", f"{small:.1f} MiB at {full:,}", f"{large / small:.2f} (goal 1.1)", large <= 1.1 * small)

    endpoint = Endpoint()
    rejects = WORK / "rejects.ndjson"
    rejects.write_bytes(b"".join(b'{"id":"bad-%d","status":1,"note":"%s"}\n' % (n, b"x" * 680) for n in range(BATCH)))
    message = endpoint.prepare("import", TYPE, str(rejects))
    peak = run_ours(endpoint, "run-import", [message]).peak
    if imported(endpoint, message) != 0:
        raise SystemExit("rejected lines were imported")
    table.add("3", "import of 10,000 rejected lines", f"{peak:.1f} MiB", "≤ 48 MB", "", peak * 1.048576 <= 48)
    endpoint.close()
    grown_records(table)

    if not QUICK:
        for count in (10_000, 100_000):
            measure_peers(count)
        names = {"import": "import", "export": "export", "import, Node": "Node, import", "export, Node": "Node, export",
                 "import, Python": "Python, import", "export, Python": "Python, export"}
        draw("memory.svg", pictures.memory, {label: PEAKS[name] for name, label in names.items()})


def grown_records(table: Table) -> None:
    """Goal 3: small records teach an export with `since` to look up a hundred at once; then come those that have grown."""
    endpoint, count, grown = Endpoint(), 3_000, 100 if QUICK else 300
    since = now()
    import_all(endpoint, files(count, "flat-patient"), "Patient")
    # An upload holds 100 MB.
    import_all(endpoint, files(grown, "grown-patient", first=count - grown, batch=100), "Patient")
    message = endpoint.prepare("export", "Patient", since)
    endpoint.set()
    used = run_ours(endpoint, "run-export", [message])
    stats = endpoint.stats()
    lines_of_export = file_of(endpoint, message).splitlines()
    if len(lines_of_export) != count or sum(len(line) > 370_000 for line in lines_of_export) != grown:
        raise SystemExit(f"{len(lines_of_export)} of {count} changed records were exported, or not as they are now")
    table.add("3", f"export with since, {grown} of its records grown to 380 KB", f"{used.peak:.1f} MiB", "≤ 160 MB",
              f"{stats['keys_unprocessed']} keys left out of answers", used.peak * 1.048576 <= 160)
    endpoint.close()


def measure_peers(count: int) -> None:
    """Peaks of the peers at so many records, where they are not known yet."""
    endpoint = Endpoint()
    paths = files(count)
    keys = [f"peers/{path.name}" for path in paths]
    for key, path in zip(keys, paths):
        endpoint.put(key, path)
    for name, command in peers(keys).items():
        name = name.removesuffix(", maps")
        # Of a peer the import and the export are known, or neither.
        if "raw lines" not in name and count not in PEAKS.get(name, {}):
            note_peak(name, count, run_peer(endpoint, command))
    endpoint.close()


def units(table: Table) -> None:
    """Goal 5: what DynamoDB bills for a record, change items included; and what it keeps."""
    shapes = (
        ("observation", TYPE, BATCH, "an observation of 730 bytes", 1.05),
        ("observation-uuid", TYPE, BATCH, "the same with ids of 36 characters (the tenant's id has 5)", 1.05),
        ("contacts-patient", "Patient", BATCH, "a patient of 1.9 KB", 1.1),
        ("note", "Patient", 2_000, "a note of 3.4 KB", 2.1),
        ("long-note", "Patient", 2_000, "a note of 11.5 KB", 5.1),
    )
    for shape, resource_type, count, what, most in shapes:
        count = count // 5 if QUICK else count
        endpoint = Endpoint()
        paths = files(count, shape)
        for again in (False, True):
            endpoint.set()
            import_all(endpoint, paths, resource_type)
            stats = endpoint.stats()
            of_record = (stats["write_units"] + stats["change_units"]) / count
            label = f"write units of {what}, {'imported again' if again else 'first import'}"
            table.add("5", label, f"{of_record:.3f}", f"≤ {most}", "", of_record <= most)
            if shape == "observation" and not again:
                share = (stats["record_bytes"] + stats["change_bytes"]) / stats["record_bytes"]
                table.add("5", "storage of a first import beside its records", f"{share:.3f}", "≤ 1.06", "", share <= 1.06)
        endpoint.close()


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


def since(table: Table) -> None:
    """Goals 6 and 7: an export of the same changed records from a table ten times as large, alternating."""
    changed, small = (2_000, BATCH) if QUICK else (10_000, 3 * BATCH)
    endpoints, moments, items = {}, {}, {}
    for size in (small, 10 * small):
        endpoint = endpoints[size] = Endpoint()
        import_all(endpoint, files(size))
        time.sleep(0.05)
        moments[size] = now()
        time.sleep(0.05)
        endpoint.set()
        import_all(endpoint, files(changed))
        items[size] = endpoint.stats()["change_puts"]
    # The log settles for a second: none of the exports is to wait for that.
    time.sleep(1.2)
    stats, taken = {}, {size: [] for size in endpoints}
    for number in range(6 if QUICK else 20):
        for size, endpoint in sorted(endpoints.items(), reverse=number % 2 == 1):
            message = endpoint.prepare("export", TYPE, moments[size])
            endpoint.set()
            worker = Worker([RELEASE / "run-export"], endpoint.environment)
            began = time.monotonic()
            run_to_end(endpoint, worker, message)
            taken[size].append(time.monotonic() - began)
            worker.end()
            stats[size] = endpoint.stats()
            lines_of_export = file_of(endpoint, message).splitlines()
            ids = {line.split(b'"id":"', 1)[1].split(b'"', 1)[0] for line in lines_of_export}
            if ids != {b"obs-%07d" % n for n in range(changed)} or len(lines_of_export) != changed:
                raise SystemExit(f"{len(lines_of_export)} lines of {len(ids)} records were exported, {changed} have changed")
    for endpoint in endpoints.values():
        endpoint.close()
    few, many = ({name: stats[size][name] for name in ("read_units", "count_units", "batch_gets")} for size in (small, 10 * small))
    units_few, units_many = (found["read_units"] + found["count_units"] for found in (few, many))
    # A record of 730 bytes is one unit, read strongly; so is a change item.
    most = 1.1 * (changed + items[small])
    table.add("7", f"read units of {changed:,} changed records, all calls", f"{units_few:,.1f}", f"≤ {most:,.1f}", "", units_few <= most)
    table.add("7", "the same, of a table ten times as large", f"{units_many:,.1f}", f"{units_few:,.1f}",
              f"{units_many / units_few:.3f} (goal 1.05)", units_many <= 1.05 * units_few)
    # The least of some tenths of a second is chance; the median is not.
    median_few, median_many = statistics.median(taken[small]), statistics.median(taken[10 * small])
    table.add("7", "the median time of both (log settled)", f"{median_many * 1000:.0f} ms", f"{median_few * 1000:.0f} ms",
              f"{median_many / median_few:.2f} (goal 1.05)", median_many <= 1.05 * median_few)
    # Each of the four readers begins with 10, 20 and 40 ids.
    at_most(table, "6", f"BatchGetItem calls for {changed:,} changed records", few["batch_gets"], items[small] + 12, "Σ ⌈ids of an item/100⌉ + 12")


def throttled(table: Table) -> None:
    """Goal 8: a store whose keys take 1,000 write units a second and have none saved up, at 7 ms a call."""
    endpoint = Endpoint()
    rate, count = (250, 3 * BATCH) if QUICK else (1_000, RECORDS)
    messages = [endpoint.prepare("import", TYPE, str(path)) for path in files(count)]
    worker = Worker([RELEASE / "run-import"], endpoint.environment)
    time.sleep(0.3)  # It has started; that is no part of the bound.
    endpoint.set(write_units=rate, write_ms=7)
    began = time.monotonic()
    for message in messages:
        run_to_end(endpoint, worker, message)
    took = time.monotonic() - began
    worker.end()
    stats = endpoint.stats()
    if sum(imported(endpoint, message) for message in messages) != count:
        raise SystemExit("records are missing")
    bound = stats["write_units"] / (SHARDS * rate)
    refused = stats["items_refused"] / (stats["items_refused"] + stats["items_written"])
    table.add("8", f"throttled store, {rate:,} units a key", f"{took:.1f} s", f"{bound:.1f} s, the bound", f"{took / bound:.2f} (goal 1.25)", took <= 1.25 * bound)
    table.add("8", "writes refused by it", f"{100 * refused:.1f} %", "≤ 5 %", "", refused <= 0.05)
    endpoint.close()


def faults(table: Table) -> None:
    """Goal 8: one failed write, of each kind, at the first, middle and last write of an import, at 10 ms a write."""
    endpoint = Endpoint()
    (path,) = files(BATCH)
    worker = Worker([RELEASE / "run-import"], endpoint.environment)

    def run(**limits) -> float:
        message = endpoint.prepare("import", TYPE, str(path))
        endpoint.set(write_ms=10, **limits)
        began = time.monotonic()
        run_to_end(endpoint, worker, message)
        took = time.monotonic() - began
        if imported(endpoint, message) != BATCH or endpoint.stats()["faults"] != ("fault" in limits):
            raise SystemExit(f"not all was imported, or no write failed: {limits}")
        return took

    run()  # Connections are open, and the code is warm.
    undisturbed = statistics.median(run() for _ in range(3 if QUICK else 7))
    stats = endpoint.stats()
    writes = stats["batch_writes"] + stats["change_puts"]
    for kind, more in (("reset", 0), ("500", 0), ("throttle", 0), ("timeout", 3.2)):
        places = {"first": 1, "middle": writes // 2, "last": writes}
        # The better of two: the machine is not idle. A time-out is too long for that to matter.
        took = {place: min(run(fault=f"{n},{kind}") for _ in range(1 if more else 2)) for place, n in places.items()}
        worst = max(took, key=took.get)
        most = 1.3 * undisturbed + more
        ratio = (took[worst] - more) / undisturbed
        bound = f"{undisturbed:.2f} s undisturbed" + (f", + {more} s" if more else "")
        table.add("8", f"import of 10,000, one write fails by {kind}, worst place ({worst})", f"{took[worst]:.2f} s", bound,
                  f"{ratio:.2f} (goal 1.3)", took[worst] <= most)
    worker.end()
    endpoint.close()


def readers(table: Table) -> None:
    """Goal 9: one export worker that reads several shards at once, of a store that takes its time."""
    endpoint = Endpoint()
    count = 150_000 if QUICK else 300_000
    import_all(endpoint, files(count))

    def run(**limits) -> tuple[float, dict, int]:
        message = endpoint.prepare("export", TYPE)
        worker = Worker([RELEASE / "run-export"], endpoint.environment)
        time.sleep(0.3)  # It has started; that is no part of the export.
        endpoint.set(**limits)
        began = time.monotonic()
        run_to_end(endpoint, worker, message)
        took = time.monotonic() - began
        worker.end()
        content = file_of(endpoint, message)
        if content.count(b"\n") != count:
            raise SystemExit(f"{content.count(bytes([10]))} of {count:,} records were exported")
        return took, endpoint.stats(), len(content)

    took, stats, _ = run(query_ms=50)
    # One shard at a time: the waits for its pages alone, after a count of 16 shards at once as it is now.
    alone = 0.05 * (stats["queries"] + stats["counts"] / SHARDS)
    table.add("9", f"export of {count:,}, pages of 50 ms", f"{took:.1f} s", f"{alone:.1f} s of waiting, one page at a time",
              f"{alone / took:.1f} × (goal 3.5)", alone >= 3.5 * took)
    took, stats, size = run(query_ms=25, read_units=3_000)
    speed, queries = size / 1e6 / took, stats["queries"] + stats["counts"]
    refused = stats["queries_refused"] / (stats["queries_refused"] + queries)
    table.add("9", "the same, 25 ms, 3,000 read units a key", f"{speed:.0f} MB/s", "≥ 60 MB/s", f"{took:.1f} s", speed >= 60)
    table.add("9", "reads refused by it", f"{100 * refused:.1f} %", "≤ 2 %", "", refused <= 0.02)
    endpoint.close()


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


def machine() -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory_size = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text()).group(1)) / 1024 / 1024
    versions = [subprocess.run(command, capture_output=True, text=True).stdout.strip() for command in (["rustc", "--version"], ["node", "--version"])]
    return f"{os.cpu_count()} cores ({model.group(1) if model else platform.machine()}), {memory_size:.0f} GiB, {platform.system()}; {versions[0]}, Node {versions[1]}, Python {platform.python_version()}"


STEPS = {
    "import-and-export": import_and_export, "memory": memory, "cold-start": cold_start, "units": units, "since": since,
    "throttled": throttled, "faults": faults, "readers": readers, "lines": lines, "fhir": fhir, "accept": accept,
    "accept-to-completed": accept_to_completed, "command-line": command_line, "cores": cores, "zips": zips,
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
