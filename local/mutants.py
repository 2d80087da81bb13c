"""Takes a rule out and expects the tests to find it: a test of the tests.

    python3 local/mutants.py [NAME…|SUITE…]     all rules of tests/mutants.toml, or those named; all take an hour

Works on a copy under target/mutants; the tree stays as it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPY = ROOT / "target" / "mutants"
MUTANTS = tomllib.loads((ROOT / "tests" / "mutants.toml").read_text())["mutant"]

CARGO = ["cargo", "test", "--quiet", "--locked"]
# By name: what runs, and what it says once its tests have begun.
SUITES = {
    "engine": ([*CARGO, "--package", "engine", "--package", "in-process", "--lib", "--test", "all"],
               "test result: "),
    "clinik-bulk": ([*CARGO, "--package", "clinikapi", "--package", "sources", "--package", "tables", "--package", "files", "--package", "transfer", "--package", "clinik-bulk", "--",
                     "--skip", "outages"], "test result: "),
    "typescript": ([sys.executable, "local/typescript.py", "test"], "against stubs"),
}


def copy() -> None:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    for name in files:
        source, target = ROOT / name, COPY / name
        # A file that is the same keeps its time, so that cargo builds only what has changed.
        if not source.exists() or (target.exists() and target.read_bytes() == source.read_bytes()):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    # What is no longer part of the tree, but for what was built.
    for kept in COPY.rglob("*.rs"):
        name = kept.relative_to(COPY)
        if name.parts[0] != "target" and str(name) not in files:
            kept.unlink()
    # What is left unused is no mistake of a mutant: of Rust no warning counts, either.
    settings = COPY / "clients/typescript/tsconfig.base.json"
    text = settings.read_text()
    for unused in ("noUnusedLocals", "noUnusedParameters"):
        text = text.replace(f'"{unused}": true', f'"{unused}": false')
    settings.write_text(text)
    # Tools that are installed once.
    for tools in (".venv", "clients/typescript/node_modules"):
        if (ROOT / tools).exists() and not (COPY / tools).exists():
            (COPY / tools).symlink_to(ROOT / tools)


def run(suite: str) -> str:
    """What the suite says: "found", "passed", or why it did not run."""
    command, begun = SUITES[suite]
    # Most of these tests wait for something: more at a time than there are cores.
    environment = os.environ | {"CARGO_TARGET_DIR": str(COPY / "target"), "RUST_BACKTRACE": "0", "RUSTFLAGS": "-Awarnings", "RUST_TEST_THREADS": "8"}
    done = subprocess.run(command, cwd=COPY, env=environment, capture_output=True, text=True)
    if begun not in done.stdout:
        return done.stdout[-2000:] + done.stderr[-2000:]
    return "passed" if done.returncode == 0 else "found"


def main() -> int:
    wanted = sys.argv[1:]
    mutants = [m for m in MUTANTS if not wanted or m["name"] in wanted or m["suite"] in wanted]
    for mutant in mutants:
        for edit in mutant["edit"]:
            if (ROOT / edit["file"]).read_text().count(edit["old"]) != 1:
                raise SystemExit(f"{mutant['name']}: {edit['file']} has changed; bring the mutant up to date")
    copy()
    for suite in sorted({mutant["suite"] for mutant in mutants}):
        if (said := run(suite)) != "passed":
            raise SystemExit(f"{suite}: the tests fail without any mutant, or do not build: {said}")
    missed = []
    for mutant in mutants:
        name = mutant["name"]
        copy()
        for edit in mutant["edit"]:
            file = COPY / edit["file"]
            file.write_text(file.read_text().replace(edit["old"], edit["new"]))
        said = run(mutant["suite"])
        if said not in ("found", "passed"):
            raise SystemExit(f"{name}: does not build:\n{said}")
        if said == "passed":
            missed.append(name)
        print(f"{'MISSED' if said == 'passed' else 'found'}: {name}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
