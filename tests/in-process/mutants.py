"""Takes a rule of the engine out and expects the simulation, or the flows, to find it: a test of the test.

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
        ("shared/engine/src/importing/group_writer.rs",
         "            if !self.log(&group, &lines, is_fresh, &mut backoff).await? {\n                continue;\n            }\n",
         "            let unlogged = lines.clone();\n"),
        ("shared/engine/src/importing/group_writer.rs",
         "            if lines.len() < before {",
         "            self.log(&group, &unlogged, || true, &mut backoff).await?;\n            if lines.len() < before {"),
    ],
    "one key for two groups": [
        ("shared/model/src/changes.rs",
         "Self { log: ChangeLog { resource_type, number }, stamp: Stamp::draw(now, random) }",
         "Self { log: ChangeLog { resource_type, number }, stamp: Stamp::draw(now, 0) }"),
    ],
    "no window": [
        ("shared/model/src/timings.rs", "SignedDuration::from_mins(6)", "SignedDuration::ZERO"),
    ],
    "no settling": [
        ("shared/engine/src/exporting/plan.rs", "                self.settle(plan.until).await;\n", ""),
    ],
    "writes on the token alone": [
        ("shared/testing/src/memory/jobs.rs",
         "if state.jobs.get(&key).map_or(0, Job::revision) + 1 != job.revision() {",
         "let stored = state.jobs.get(&key);\n"
         "        let is_holder = stored.is_some_and(|stored| stored.lease().is_some()\n"
         "            && stored.lease().map(|lease| &lease.token) == job.lease().map(|lease| &lease.token));\n"
         "        if !is_holder && stored.map_or(0, Job::revision) + 1 != job.revision() {"),
    ],
    "a cancelled import gives everything back": [
        ("shared/model/src/jobs/state.rs",
         "        if self.earlier < EarlierWorkers::Died {\n            self.refund_all_but(begun);",
         "        let _ = begun;\n        if self.earlier < EarlierWorkers::Died {\n            self.refund_all_but(0);"),
    ],
    "a cancelled import gives back what a dead worker may have written": [
        ("shared/model/src/jobs/state.rs", "        if self.earlier < EarlierWorkers::Died {\n", "        {\n"),
    ],
    "a line is told as begun when its write has ended": [
        ("shared/engine/src/importing.rs",
         "            self.begun = self.begun.max(upto.processed);\n",
         "            self.begun = self.begun.max(self.watermark.reached().map_or(0, |done| done.processed));\n"),
    ],
    "a cancellation forgets the progress": [
        ("shared/model/src/jobs/state.rs",
         "(Pending | Processing { .. }, Event::Cancelled) => next.cancel(now),",
         "(Pending | Processing { .. }, Event::Cancelled) => {\n"
         "                next.progress = Progress::default();\n"
         "                next.cancel(now);\n            }"),
    ],
    "no second clearing": [
        ("shared/engine/src/driver.rs",
         "        remove_leftovers(self.files.as_ref(), job).await?;\n        if job.is_deleted()",
         "        if job.is_deleted()"),
    ],
    "a clearing takes the files along": [
        ("shared/ports/src/results.rs",
         "job.result().filter(|_| !job.is_deleted())", "job.result().filter(|_| false)"),
    ],
    "stamps not compared": [
        ("shared/engine/src/exporting/lane.rs", ".filter(|record| record.stamp == stamp)", ".filter(|_| true)"),
    ],
    "cursors of the fetched page": [
        ("shared/engine/src/exporting/reading.rs",
         "self.position.set(lane, Some(row.behind));", "self.position.set(lane, page.behind.clone());"),
    ],
    "the source forgets its error": [
        ("shared/engine/src/files/object_reader.rs",
         "Err(ReadError::Port(error)) if error.is_transient() => error,",
         "Err(ReadError::Port(error)) if error.is_transient() => {\n"
         "                    let _ = error;\n                    return Ok(None);\n                }"),
        ("shared/engine/src/files/object_reader.rs",
         "            self.body = None;\n            tracing::info!(read = self.read, error = &error as &dyn std::error::Error, \"read object on by range\");\n"
         "            if !backoff.wait().await {\n                return Err(error.into());\n            }\n",
         "            let _: PortError = error;\n            let _ = &mut backoff;\n"),
        ("shared/engine/src/files/object_reader.rs",
         "            let error = match self.piece().await {", "            let error: PortError = match self.piece().await {"),
        ("shared/engine/src/importing.rs", "if outcome.progress.processed != self.lines {", "if false {"),
    ],
    "the total is not compared": [
        ("shared/engine/src/importing.rs", "if outcome.progress.processed != self.lines {", "if false {"),
    ],
    "a chunk is named that has not arrived": [
        ("shared/engine/src/files/file_writer.rs", "self.under_way.push_back((false, Cut", "self.under_way.push_back((true, Cut"),
    ],
    "the tail is not read back": [
        ("shared/engine/src/exporting.rs",
         "Ok(bytes) => (bytes, tail.records),", "Ok(_) => (BytesMut::new(), tail.records),"),
    ],
    "the upload is stored before the whole list": [
        ("shared/engine/src/exporting/ending.rs",
         "            self.send_rest(out, position.clone()).await?;\n            self.begin_assembly(index, 0).await?;\n",
         "            self.begin_assembly(index, 0).await?;\n            self.send_rest(out, position.clone()).await?;\n"),
    ],
    "a try that is found stored confirms the newest state": [
        ("shared/engine/src/driver/heartbeat.rs",
         "stored.number = wanted.number;", "stored.number = self.wanted.borrow().number;"),
    ],
    "a deferral without a metric": [
        ("shared/engine/src/driver/metrics.rs", "pub(crate) fn job_deferred(deferral: &Deferral<'_>) {",
         "pub(crate) fn job_deferred(deferral: &Deferral<'_>) {\n    if deferral.in_a_row > 0 {\n        return;\n    }"),
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
    # What is no longer part of the tree, but for what was built.
    for kept in COPY.rglob("*.rs"):
        name = kept.relative_to(COPY)
        if name.parts[0] != "target" and str(name) not in files:
            kept.unlink()


def simulate() -> subprocess.CompletedProcess:
    environment = os.environ | {"CARGO_TARGET_DIR": str(COPY / "target"), "RUST_BACKTRACE": "0", "RUSTFLAGS": "-Awarnings"}
    command = ["cargo", "test", "--quiet", "--locked", "--package", "in-process", "--package", "engine", "--lib", "--test", "simulation", "--test", "flows"]
    return subprocess.run(command, cwd=COPY, env=environment, capture_output=True, text=True)


def main() -> int:
    missed = []
    copy()
    if "test result: FAILED" in simulate().stdout:
        raise SystemExit("the tests fail without any mutant")
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
