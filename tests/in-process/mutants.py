"""Takes a rule of the engine out and expects the simulation to find it: a test of the test.

    python3 tests/in-process/mutants.py [NAME…]     all rules, or those named; some ten minutes

Works on a copy under target/mutants; the tree stays as it is.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPY = ROOT / "target" / "mutants"

# By name: the file, and what is replaced by what.
MUTANTS: dict[str, list[tuple[str, str, str]]] = {
    "change item after its records": [
        ("shared/domain/src/importing/group_writer.rs",
         "            if !self.log(&group, &lines, is_fresh, &mut backoff).await? {\n                continue;\n            }\n",
         "            let unlogged = lines.clone();\n"),
        ("shared/domain/src/importing/group_writer.rs",
         "            if lines.len() < before {",
         "            self.log(&group, &unlogged, || true, &mut backoff).await?;\n            if lines.len() < before {"),
    ],
    "one key for two groups": [
        ("shared/domain/src/ports/records.rs",
         "Self { log: ChangeLog { resource_type, number }, stamp: Stamp::draw(now, random) }",
         "Self { log: ChangeLog { resource_type, number }, stamp: Stamp::draw(now, 0) }"),
    ],
    "no window": [
        ("shared/domain/src/timings.rs", "SignedDuration::from_mins(6)", "SignedDuration::ZERO"),
    ],
    "no settling": [
        ("shared/domain/src/exporting/plan.rs", "                self.settle(plan.until).await;\n", ""),
    ],
    "no skipped numbers": [
        ("shared/domain/src/exporting/checkpoint.rs", "self.next_number += MAX_PARTS_AHEAD;", "let _ = self;"),
    ],
    "the skip kept in memory": [
        ("shared/domain/src/jobs/state.rs",
         "        if expired.is_some() {\n            skip_part_numbers(&mut checkpoint);\n        }\n",
         "        checkpoint = checkpoint.take();\n"),
        ("shared/domain/src/exporting.rs",
         "Some(checkpoint) => checkpoint.clone().readable(),",
         "Some(checkpoint) => {\n                let mut checkpoint = checkpoint.clone().readable();\n"
         "                if let Some(open) = &mut checkpoint.open {\n                    open.skip_part_numbers();\n"
         "                }\n                checkpoint\n            }"),
    ],
    "writes on the token alone": [
        ("shared/domain/src/memory/jobs.rs",
         "if state.jobs.get(&key).map_or(0, Job::revision) + 1 != job.revision() {",
         "let stored = state.jobs.get(&key);\n"
         "        let is_holder = stored.is_some_and(|stored| stored.lease().is_some()\n"
         "            && stored.lease().map(|lease| &lease.token) == job.lease().map(|lease| &lease.token));\n"
         "        if !is_holder && stored.map_or(0, Job::revision) + 1 != job.revision() {"),
    ],
    "a cancelled import gives everything back": [
        ("shared/domain/src/jobs.rs",
         "(FailureReason::Cancelled, JobType::Import) => self.progress.processed,",
         "(FailureReason::Cancelled, JobType::Import) => 0,"),
    ],
    "a cancellation forgets the progress": [
        ("shared/domain/src/jobs/state.rs",
         "(Pending | Processing { .. }, Event::Cancelled) => next.end(Failed(FailureReason::Cancelled), now),",
         "(Pending | Processing { .. }, Event::Cancelled) => {\n"
         "                next.progress = Progress::default();\n"
         "                next.end(Failed(FailureReason::Cancelled), now);\n            }"),
    ],
    "files of a cancelled job stay": [
        ("shared/domain/src/jobs/driver.rs",
         "                remove_results(self.files.as_ref(), &job).await;\n                Delivery::AlreadyEnded",
         "                Delivery::AlreadyEnded"),
    ],
    "stamps not compared": [
        ("shared/domain/src/exporting/lane.rs", ".filter(|record| record.stamp == stamp)", ".filter(|_| true)"),
    ],
    "cursors of the fetched page": [
        ("shared/domain/src/exporting.rs",
         "                if let Some(behind) = behind.take() {\n                    position.set(lane, Some(behind));\n",
         "                if behind.take().is_some() {\n                    position.set(lane, chunk.behind.clone());\n"),
    ],
    "no final checkpoint": [
        ("shared/domain/src/exporting.rs",
         "            self.guard.save(self.progress(), self.checkpoint.clone()).await?;\n        }\n        self.guard.check()?;\n        let size",
         "        }\n        self.guard.check()?;\n        let size"),
    ],
}


def copy() -> None:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    for name in files:
        source, target = ROOT / name, COPY / name
        if not source.exists() or (target.exists() and target.read_bytes() == source.read_bytes()):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def simulate() -> subprocess.CompletedProcess:
    environment = os.environ | {"CARGO_TARGET_DIR": str(COPY / "target"), "RUST_BACKTRACE": "0", "RUSTFLAGS": "-Awarnings"}
    command = ["cargo", "test", "--quiet", "--locked", "--package", "in-process", "--test", "simulation"]
    return subprocess.run(command, cwd=COPY, env=environment, capture_output=True, text=True)


def main() -> int:
    missed = []
    for name in sys.argv[1:] or MUTANTS:
        copy()
        for file, old, new in MUTANTS[name]:
            text = (COPY / file).read_text()
            if text.count(old) != 1:
                raise SystemExit(f"{name}: {file} has changed; bring the mutant up to date")
            (COPY / file).write_text(text.replace(old, new))
        run = simulate()
        if "test result: FAILED" in run.stdout:
            told = [line for line in (run.stdout + run.stderr).splitlines() if "seed" in line and "SEED=" not in line]
            print(f"found: {name}: {told[0][:120] if told else ''}", flush=True)
        elif "test result: ok" in run.stdout:
            missed.append(name)
            print(f"MISSED: {name}", flush=True)
        else:
            raise SystemExit(f"{name}: does not build:\n{run.stderr[-2000:]}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
