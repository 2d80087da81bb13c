"""Runs the lines of docs/working-with-exports.md on 30,000 patients of which the last ones are unlike the others.

    test-exports.py         on what the running service exports (API_URL, CLINIK_BULK and the like, as `stack.py exec` sets them),
                            and on files made here: the service promises no order of lines, and these have the odd ones last
    test-exports.py --made  on files made here alone; needs no service

Spark and BigQuery cannot be had here: their lines are left out.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import duckdb

PAGE = "docs/working-with-exports.md"
ROOT = Path(__file__).resolve().parent.parent
TENANT = f"exports-{uuid.uuid4().hex[:8]}"
PATIENTS = 30_000
# DuckDB looks at the first 20,480 lines: what is unlike them has to come later.
LATE = range(PATIENTS - 10, PATIENTS)
ODD = ("1985-03", "015694711")
DELETED = f"mrn-{PATIENTS - 1}"


def patient(number: int) -> dict:
    """One as all the others; or, in the end, one whose `id` is no UUID and whose date is partial, with members more."""
    record = {"id": str(uuid.UUID(int=number)), "firstName": "Jane", "lastName": "Doe", "gender": ("female", "male")[number % 2]}
    if number not in LATE:
        return record | {"birthDate": f"1990-01-{number % 28 + 1:02}"}
    birth_date, phone = ODD
    more = {"phone": phone, "address": {"city": "Springfield", "postalCode": "01569"}}
    return record | {"id": f"mrn-{number}", "birthDate": birth_date} | more


def ndjson(records: list[dict]) -> str:
    return "".join(f"{json.dumps(record)}\n" for record in records)


def first() -> list[dict]:
    return [patient(number) for number in range(PATIENTS)]


def changed() -> list[dict]:
    return [patient(1) | {"lastName": "Smith"}]


def blocks() -> list[tuple[str, str]]:
    """Language and text of what the page shows."""
    shown = re.findall(r"```(\w+)\n(.*?)```", (ROOT / PAGE).read_text(), re.DOTALL)
    return [(language, text) for language, text in shown if "spark." not in text and not text.startswith("bq ")]


class Service:
    """The running service, with a tenant of its own: 30,000 records would be in the way of other tests."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.command, self.admin = os.environ["CLINIK_BULK"], os.environ["CLINIK_BULK_ADMIN"]
        self.operate("tenant", "create", TENANT, "--plan", "pro", "--bulk-operations-per-hour", "100")
        key = self.operate("key", "create", TENANT, "--environment", "test")["key"]
        names = {"CLINIKAPI_BASE_URL": os.environ["API_URL"], "CLINIKAPI_SECRET_KEY": key, "XDG_CONFIG_HOME": str(folder)}
        self.environment = os.environ | names | {"PATH": f"{Path(self.command).parent}:{os.environ['PATH']}"}
        self.store("first", first())

    def operate(self, *arguments: str) -> dict:
        done = subprocess.run([self.admin, "--output", "json", *arguments], check=True, stdout=subprocess.PIPE)
        return json.loads(done.stdout or "{}")

    def store(self, name: str, records: list[dict]) -> None:
        source = self.folder / f"{name}.ndjson"
        source.write_text(ndjson(records))
        command = [self.command, "import", "Patient", source, "--state", self.folder / name, "--quiet"]
        subprocess.run(command, env=self.environment, check=True)

    def change(self) -> None:
        self.store("changed", changed())
        self.operate("record", "delete", TENANT, "test", "Patient", DELETED, "--wait", "0")


class Made:
    """Files as the service writes them, each handed out by what stands in for the command line."""

    def __init__(self, folder: Path):
        self.exports, tools = folder / "made", folder / "tools"
        tools.mkdir()
        stand_in = tools / "clinik-bulk"
        stand_in.write_text(f'#!/bin/sh\nmkdir -p exports && mv "{self.exports}"/* exports/\n')
        stand_in.chmod(0o755)
        self.environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"}
        self.write("export-20260115T091500Z-4f1c2a", "2026-01-15T09:10:00.000Z", first())

    def write(self, name: str, time: str, records: list[dict]) -> Path:
        export = self.exports / name
        export.mkdir(parents=True)
        meta = {"lastUpdated": time, "tag": [{"system": "https://clinikapi.com/tenant", "code": TENANT}]}
        lines = ndjson([{"resourceType": "Patient", **record, "meta": meta} for record in records])
        (export / "Patient.ndjson.gz").write_bytes(gzip.compress(lines.encode()))
        return export

    def change(self) -> None:
        export = self.write("export-20260116T091500Z-90be7d", "2026-01-16T09:10:00.000Z", changed())
        deleted = {"resourceType": "Patient", "id": DELETED, "deletedAt": "2026-01-16T09:11:00.000Z"}
        (export / "deleted.ndjson").write_text(ndjson([deleted]))


# By the name that a block gives to what it has read.
WANTED = {
    "by_gender": (lambda rows: sum(row[1] for row in rows.fetchall()), PATIENTS),
    "born_in_march": (lambda rows: sorted(rows.fetchall()), [(patient(number)["id"], "Springfield") for number in LATE]),
    "everything": (lambda rows: rows.count("address").fetchall(), [(len(LATE),)]),
    "table": (lambda table: (len(table), *table.set_index("id").loc[DELETED, ["birthDate", "phone"]]), (PATIENTS, *ODD)),
    "counted": (lambda counted: counted, PATIENTS),
}


def expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        sys.exit(f"error: {PAGE}: {what}: {found!r}, and not {wanted!r}")


def run_python(text: str, names: dict) -> None:
    """Runs a block and looks at what it has read, before the next one leaves the folder."""
    known = set(names)
    exec(compile(text, PAGE, "exec"), names)  # noqa: S102 - our own page
    for name in WANTED.keys() & (names.keys() - known):
        read, wanted = WANTED[name]
        expect(name, read(names[name]), wanted)


def run_shell(text: str, ended_in: Path, environment: dict[str, str]) -> None:
    """Runs a block; the next one begins in the folder where this one ends."""
    command = ["bash", "-euc", f'{text}\npwd > "$ENDED_IN"']
    done = subprocess.run(command, env=environment | {"ENDED_IN": str(ended_in)})
    if done.returncode != 0:
        sys.exit(f"error: {PAGE}: these lines end with {done.returncode}:\n{text}")
    os.chdir(ended_in.read_text().strip())


def try_page(source: type[Service] | type[Made]) -> None:
    """Runs the page from its beginning to its end, in a folder of its own."""
    names: dict = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        exports = source(folder)
        (folder / "work").mkdir()
        os.chdir(folder / "work")
        for language, text in blocks():
            if "--since-last" in text:
                exports.change()
            if language == "python":
                run_python(text, names)
            else:
                run_shell(text, folder / "ended-in", exports.environment)
        os.chdir(ROOT)
    expect("names that no block gives", WANTED.keys() - names.keys(), set())
    counts = "count(*), count(DISTINCT id), count(*) FILTER (lastName = 'Smith')"
    expect("newest", duckdb.sql(f"SELECT {counts} FROM newest").fetchall(), [(PATIENTS - 1, PATIENTS - 1, 1)])
    expect("deleted", duckdb.sql(f"SELECT id FROM newest WHERE id = '{DELETED}'").fetchall(), [])
    duckdb.sql("DROP TABLE newest")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--made", action="store_true")
    for source in (Made,) if parser.parse_args().made else (Service, Made):
        try_page(source)
        print(f"{PAGE}: {len(blocks())} blocks ran on {PATIENTS} records")


if __name__ == "__main__":
    main()
