"""What the record store is asked for, and what happens where it throttles, fails or is slow."""

import statistics
import time

from harness import (
    BATCH, QUICK, RECORDS, RELEASE, TYPE, Endpoint, Table, Worker, file_of, files, imported, run_to_end,
)
from steps.common import SHARDS, at_most, import_all, now


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
