"""Builds what is released, and writes it to target/package/.

    package.py arm64|x86_64    all functions for AWS, with the template that names them, and the command line
    package.py command-line    the users' command line alone, for this machine

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
import tarfile
import tempfile
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


def output_of(*command: str | Path) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def metadata() -> dict:
    return json.loads(output_of("cargo", "metadata", "--format-version", "1", "--no-deps", "--locked", "--offline"))


def target_directory() -> Path:
    """Where cargo puts what it builds, wherever that is."""
    return Path(metadata()["target_directory"])


def has_target(architecture: str) -> bool:
    """Whether the toolchain that builds here has the standard library for an architecture."""
    return (Path(output_of("rustc", "--print", "sysroot").strip()) / "lib" / "rustlib" / TARGETS[architecture]).is_dir()


def tell_size(file: Path) -> int:
    size = file.stat().st_size
    print(f"{size / 1e6:6.2f} MB  {file.name}")
    return size


def command_line(package: Path) -> None:
    """The binary for this machine with its manual pages and completions, as one archive."""
    if subprocess.run(["cargo", "build", "--locked", "--release", "--package", "clinik-bulk"], cwd=ROOT).returncode != 0:
        fail("the command line could not be built")
    about = metadata()
    binary = Path(about["target_directory"]) / "release" / "clinik-bulk"
    [version] = [found["version"] for found in about["packages"] if found["name"] == "clinik-bulk"]
    [host] = re.findall(r"^host: (\S+)$", output_of("rustc", "--version", "--verbose"), flags=re.MULTILINE)
    name = f"clinik-bulk-{version}-{host}"
    with tempfile.TemporaryDirectory() as folder:
        content = Path(folder)
        shutil.copy(binary, content)
        shutil.copy(ROOT / "LICENSE", content)
        output_of(binary, "man", content / "man")
        (content / "completions").mkdir()
        for shell in ("bash", "fish", "zsh"):
            (content / "completions" / f"clinik-bulk.{shell}").write_text(output_of(binary, "completions", shell))
        with tarfile.open(package / f"{name}.tar.gz", "w:gz") as archive:
            archive.add(content, arcname=name)
    tell_size(package / f"{name}.tar.gz")


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


def new_package() -> Path:
    package = target_directory() / "package"
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir(parents=True)
    return package


def for_aws(architecture: str) -> None:
    if architecture not in TARGETS:
        fail(f"unknown architecture {architecture}; choose one of: {', '.join(TARGETS)}")
    if not has_target(architecture):
        fail(f"Rust's standard library for {TARGETS[architecture]} is missing; run: rustup target add {TARGETS[architecture]}")
    template = TEMPLATE.read_text()
    names = functions(template)
    built = build(names, architecture)
    package = new_package()
    too_large = []
    for name in names:
        shutil.copyfile(built / name / "bootstrap.zip", package / f"{name}.zip")
        if tell_size(package / f"{name}.zip") > MAX_ZIP_BYTES:
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
    command_line(package)
    print(f"written to {package}, functions for {architecture}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if sys.argv[1] == "command-line":
        command_line(new_package())
    else:
        for_aws(sys.argv[1])
