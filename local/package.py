"""Builds all functions for AWS and writes target/package/: a zip for each function, and the template that names them.

    package.py arm64|x86_64

Any tool that uploads what a template names locally can deploy it: `sam deploy`, `aws cloudformation package`. Beside it
is retained.yaml, with which a new stack takes over what an earlier one left (RUNBOOK.md).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "template.yaml"
TARGETS = {"arm64": "aarch64-unknown-linux-gnu", "x86_64": "x86_64-unknown-linux-gnu"}
# Larger zips start slower; one that outgrows this has gained a dependency that nobody wanted.
MAX_ZIP_BYTES = 6_000_000

FUNCTION = re.compile(
    r"    Metadata: \{ BuildMethod: rust-cargolambda, BuildProperties: \{ Binary: (?P<binary>[a-z-]+) \} \}\n    Properties:\n"
)
GLOBAL_CODE = "    CodeUri: .\n"


def fail(sentence: str) -> None:
    sys.exit(f"error: {sentence}")


def functions(template: str) -> list[str]:
    """The names of the functions' binaries, in the template's order."""
    names = FUNCTION.findall(template)
    if not names or len(names) != template.count("Type: AWS::Serverless::Function"):
        fail("template.yaml: each function needs one line of Metadata that names its binary, before its Properties")
    return names


def with_code(template: str, uri_of: Callable[[str], str]) -> str:
    """The template with `uri_of(binary)` as the code of each function, and nothing left to build."""
    functions(template)
    if template.count(GLOBAL_CODE) != 1:
        fail("template.yaml: Globals need one CodeUri")
    code = lambda found: f"    Properties:\n      CodeUri: {uri_of(found['binary'])}\n"  # noqa: E731
    return FUNCTION.sub(code, template.replace(GLOBAL_CODE, ""))


def retained(template: str) -> str:
    """Only what outlives a stack. CloudFormation imports nothing in a template that also creates something."""
    sections = re.split(r"^(?=[A-Z])", template, flags=re.MULTILINE)
    kept = [section for section in sections if section.startswith(("AWSTemplate", "Description", "Parameters", "Rules", "Conditions"))]
    [resources] = [section for section in sections if section.startswith("Resources:")]
    blocks = re.split(r"^(?=  [A-Z])", resources, flags=re.MULTILINE)
    blocks = [block for block in blocks if "    DeletionPolicy: RetainExceptOnCreate\n" in block]
    if not blocks:
        fail("template.yaml: nothing outlives the stack")
    # A comment at a block's end belongs to the next one.
    blocks = [re.sub(r"(?:^  #.*\n|^\n)+\Z", "", block, flags=re.MULTILINE) + "\n" for block in blocks]
    return "".join(kept) + "Resources:\n" + "".join(blocks)


def target_directory() -> Path:
    """Where cargo puts what it builds, wherever that is."""
    metadata = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked", "--offline"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )
    return Path(json.loads(metadata.stdout)["target_directory"])


def has_target(architecture: str) -> bool:
    """Whether the toolchain that builds here has the standard library for an architecture."""
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], cwd=ROOT, check=True, capture_output=True, text=True)
    return (Path(sysroot.stdout.strip()) / "lib" / "rustlib" / TARGETS[architecture]).is_dir()


def build(names: list[str], architecture: str) -> Path:
    """Builds the functions by one command, so that all see the same features; returns where their zips are."""
    command = ["cargo", "lambda", "build", "--locked", "--release", "--output-format", "zip"]
    command += ["--arm64" if architecture == "arm64" else "--x86-64"]
    for name in names:
        command += ["--package", name]
    # First in the path, since cargo-lambda looks for its linker, zig, by asking python3 for it.
    path = str(ROOT / ".venv-tools" / "bin") + os.pathsep + os.environ["PATH"]
    if subprocess.run(command, cwd=ROOT, env=os.environ | {"PATH": path}).returncode != 0:
        fail("the functions could not be built")
    return target_directory() / "lambda"


def main(architecture: str) -> None:
    if architecture not in TARGETS:
        fail(f"unknown architecture {architecture}; choose one of: {', '.join(TARGETS)}")
    if not has_target(architecture):
        fail(f"Rust's standard library for {TARGETS[architecture]} is missing; run: rustup target add {TARGETS[architecture]}")
    template = TEMPLATE.read_text()
    names = functions(template)
    built = build(names, architecture)
    package = target_directory() / "package"
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir(parents=True)
    too_large = []
    for name in names:
        shutil.copyfile(built / name / "bootstrap.zip", package / f"{name}.zip")
        size = (package / f"{name}.zip").stat().st_size
        print(f"{size / 1e6:6.2f} MB  {name}.zip")
        if size > MAX_ZIP_BYTES:
            too_large.append(name)
    if too_large:
        shutil.rmtree(package)
        fail(f"larger than {MAX_ZIP_BYTES / 1e6:.0f} MB: {', '.join(too_large)}; see what they link with: cargo tree -e features")
    packaged = with_code(template, lambda name: f"{name}.zip")
    # The default of a package is what it was built for.
    packaged, changed = re.subn(r"(  Architecture:\n    Type: String\n    Default: )\w+", rf"\g<1>{architecture}", packaged)
    if changed != 1:
        fail("template.yaml: the parameter Architecture needs a Default")
    (package / "template.yaml").write_text(packaged)
    (package / "retained.yaml").write_text(retained(template))
    print(f"written to {package}, for {architecture}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
