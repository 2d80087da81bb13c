"""Runs the DuckDB and pandas lines of docs/working-with-exports.md on files that the running service has exported."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

import smoke

ROOT = Path(__file__).resolve().parent.parent


def download(job: dict, folder: Path) -> None:
    for file in job["files"]:
        _, headers, _ = smoke.call("GET", file["url"])
        (folder / file["name"]).write_bytes(smoke.fetched(headers["location"]))


def blocks() -> list[str]:
    page = (ROOT / "docs" / "working-with-exports.md").read_text()
    python = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    # Spark and BigQuery cannot be had here.
    return [block for block in python if "spark." not in block]


def main() -> None:
    records = (ROOT / "events" / "samples" / "records" / "Patient.ndjson").read_text()
    smoke.completed(smoke.start("/v1/bulk/import", {"resourceType": "Patient", "data": records}))
    asked = {"resourceTypes": ["Patient"], "files": "perType", "compression": "gzip"}
    job = smoke.completed(smoke.start("/v1/bulk/export", asked))
    names: dict = {}
    with tempfile.TemporaryDirectory() as folder:
        download(job, Path(folder))
        os.chdir(folder)
        for block in blocks():
            exec(compile(block, "docs/working-with-exports.md", "exec"), names)  # noqa: S102 - our own page
        records = job["files"][0]["records"]
        counted = (sum(row[1] for row in names["by_gender"].fetchall()), len(names["patients"]))
        newest = names["newest"].count("id").fetchall()[0][0]
        os.chdir(ROOT)
    if counted != (records, records) or newest != records:
        sys.exit(f"docs/working-with-exports.md counts {counted} and {newest} of {records} records")
    print(f"docs/working-with-exports.md: {len(blocks())} blocks ran on {records} records")


if __name__ == "__main__":
    main()
