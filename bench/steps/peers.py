"""CPU and memory of the workers, beside what others would write."""

import gzip
import hashlib
import io

import pictures
from harness import (
    BATCH, MANY, QUICK, RECORDS, RUNS, TYPE, WORK, Endpoint, Table, Usage, file_of, files, imported, measured, run_ours, run_peer, same, sorted_hash,
)
from steps.common import MIB, SHARDS, at_most, draw, import_all, now, peers, up

# Peaks in MiB by worker and number of records, for the picture.
PEAKS: dict[str, dict[int, float]] = {}


def note_peak(name: str, count: int, used: Usage) -> None:
    points = PEAKS.setdefault(name, {})
    points[count] = max(points.get(count, 0.0), used.peak)


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
