"""The main job on the local stack, as a user of the command line does it: validate, import, export, back up, restore.

Each command is shown before it runs, and can be repeated by hand after `. .local/env`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys

from emulator import ROOT, binaries
from stack import read_env

FOLDER = ROOT / ".local" / "demo"
OLD, MAP = "events/samples/old-system/patients.csv", "events/samples/old-system/map.toml"
RECORDS = "events/samples/records"
# What `clinik-bulk` ends with when all was done and some records were rejected.
SOME_REJECTED = 3


def environment(key: str) -> dict[str, str]:
    known = read_env(ROOT / ".local" / "env")
    if key not in known:
        sys.exit("error: nothing is running; start it with make up")
    return os.environ | {"CLINIKAPI_BASE_URL": known["API_URL"], "CLINIKAPI_SECRET_KEY": known[key]}


def run(command: str, expected: int = 0, key: str = "API_KEY") -> None:
    prefix = "" if key == "API_KEY" else f'CLINIKAPI_SECRET_KEY="${key}" '
    print(f"\n$ {prefix}clinik-bulk {command}", flush=True)
    done = subprocess.run([binaries() / "clinik-bulk", *shlex.split(command)], cwd=ROOT, env=environment(key))
    if done.returncode != expected:
        sys.exit(f"error: it ended with {done.returncode}, and {expected} was expected")


def chapter(title: str) -> None:
    print(f"\n── {title} {'─' * (96 - len(title))}", flush=True)


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    chapter("A CSV file of an old system: validated on this machine, one row is wrong")
    run(f"validate Patient {OLD} --map {MAP}", expected=SOME_REJECTED)
    chapter("Imported: valid rows are stored, the others are reported")
    run(f"import Patient {OLD} --map {MAP} --label old-system --state .local/demo/migration --max-rejected 1")
    chapter("A folder of NDJSON files, one for each type")
    run(f"import {RECORDS} --state .local/demo/records")
    chapter("Exported: a file for each type, hashes checked")
    run("export --all --per-type --out .local/demo/backup")
    chapter("Exported again: what has changed since, and what changed in the minutes before the first export")
    run(f"import Patient {OLD} --map {MAP} --state .local/demo/again --max-rejected 1 --quiet")
    run("export --all --per-type --out .local/demo/backup --since-last")
    chapter("Restored into another tenant")
    run("import .local/demo/backup --other-tenant --state .local/demo/restore", key="API_KEY_OTHER")
    chapter("All jobs of the first tenant")
    run("jobs list --limit 10")
    chapter("The first lines of the exported patients")
    first = min((FOLDER / "backup").glob("*/Patient.ndjson"))
    lines = first.read_text().splitlines()
    for line in lines[:3]:
        print(f"{line[:150]}{'…' if len(line) > 150 else ''}")
    print(f"… {len(lines)} records in {first.relative_to(ROOT)}")
    print(f"\nThe migration's report: {(FOLDER / 'migration' / 'report.html').relative_to(ROOT)}")


if __name__ == "__main__":
    main()
