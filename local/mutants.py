"""Takes a rule out and expects the tests to find it: a test of the tests.

    python3 local/mutants.py [NAME…|SUITE…]     all rules of tests/mutants.toml, or those named; all take an hour

Works on copies under target/mutants, one for each suite, side by side; the tree stays as it is.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIES = ROOT / "target" / "mutants"
MUTANTS = tomllib.loads((ROOT / "tests" / "mutants.toml").read_text())["mutant"]

CARGO = ["cargo", "test", "--locked"]
CARGO_FAILED = re.compile(r" \.\.\. FAILED$")
# Seconds after which a run is ended, its build included: a rule without which a test waits for ever is found, too.
TIME_LIMIT = 1_800
# By name: what runs, what it says once its tests have begun, and the line that tells of a test that failed.
SUITES = {
    "engine": ([*CARGO, "--package", "engine", "--package", "in-process", "--lib", "--test", "all"],
               "test result: ", CARGO_FAILED),
    "clinik-bulk": ([*CARGO, "--package", "clinikapi", "--package", "sources", "--package", "tables", "--package", "files",
                     "--package", "transfer", "--package", "clinik-bulk", "--", "--skip", "outages"],
                    "test result: ", CARGO_FAILED),
    "typescript": ([sys.executable, "local/typescript.py", "test", "--quick"], "against stubs", re.compile(r"^\s*✖ ")),
}


def copy(suite: str) -> Path:
    """The tree as it is, where the suite's mutants are made."""
    to = COPIES / suite
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    for name in files:
        source, target = ROOT / name, to / name
        # A file that is the same keeps its time, so that cargo builds only what has changed.
        if not source.exists() or (target.exists() and target.read_bytes() == source.read_bytes()):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    # What is no longer part of the tree.
    for kept in to.rglob("*.rs"):
        if str(kept.relative_to(to)) not in files:
            kept.unlink()
    # What is left unused is no mistake of a mutant: of Rust no warning counts, either.
    settings = to / "clients/typescript/tsconfig.base.json"
    text = settings.read_text()
    for unused in ("noUnusedLocals", "noUnusedParameters"):
        text = text.replace(f'"{unused}": true', f'"{unused}": false')
    settings.write_text(text)
    # Tools that are installed once.
    for tools in (".venv", "clients/typescript/node_modules"):
        if (ROOT / tools).exists() and not (to / tools).exists():
            (to / tools).symlink_to(ROOT / tools)
    return to


def run(suite: str) -> str:
    """What the suite says: "found" at the first test that fails, "passed", or why it did not run."""
    command, begun, failed = SUITES[suite]
    said: list[str] = []
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        # Most of these tests wait for something: more at a time than there are cores.
        environment = os.environ | {"CARGO_TARGET_DIR": str(COPIES / "target"), "RUSTFLAGS": "-Awarnings",
                                    "RUST_BACKTRACE": "0", "RUST_TEST_THREADS": "8", "TMPDIR": folder}
        process = subprocess.Popen(command, cwd=COPIES / suite, env=environment, text=True, start_new_session=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        hung = threading.Timer(TIME_LIMIT, os.killpg, (process.pid, signal.SIGKILL))
        hung.daemon = True
        hung.start()
        for line in process.stdout:
            if failed.search(line):
                # With all that the tests have started.
                hung.cancel()
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return "found"
            said.append(line)
        hung.cancel()
        passed = process.wait() == 0
        if process.returncode == -signal.SIGKILL:
            return "found"
    if not any(begun in line for line in said):
        return "".join(said)[-4000:]
    return "passed" if passed else "found"


def missed(suite: str, mutants: list[dict]) -> list[str]:
    """The mutants that the suite's tests do not find."""
    copy(suite)
    if (said := run(suite)) != "passed":
        raise SystemExit(f"{suite}: the tests fail without any mutant, or do not build: {said}")
    missed = []
    for mutant in mutants:
        tree = copy(suite)
        for edit in mutant["edit"]:
            file = tree / edit["file"]
            file.write_text(file.read_text().replace(edit["old"], edit["new"]))
        said = run(suite)
        if said not in ("found", "passed"):
            raise SystemExit(f"{mutant['name']}: does not build:\n{said}")
        if said == "passed":
            missed.append(mutant["name"])
        print(f"{'MISSED' if said == 'passed' else 'found'}: {suite}: {mutant['name']}", flush=True)
    return missed


def main() -> int:
    wanted = sys.argv[1:]
    mutants = [m for m in MUTANTS if not wanted or m["name"] in wanted or m["suite"] in wanted]
    for mutant in mutants:
        for edit in mutant["edit"]:
            if (ROOT / edit["file"]).read_text().count(edit["old"]) != 1:
                raise SystemExit(f"{mutant['name']}: {edit['file']} has changed; bring the mutant up to date")
    suites = {name: [m for m in mutants if m["suite"] == name] for name in SUITES}
    # One suite waits while the other builds.
    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(missed, suite, mutants) for suite, mutants in suites.items() if mutants]
        return 1 if any([job.result() for job in jobs]) else 0


if __name__ == "__main__":
    sys.exit(main())
