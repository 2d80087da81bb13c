"""Holds what we depend on against deny.toml: who may use which crate, licences, where crates come from.

    python3 local/dependencies.py

`make audit` asks cargo-deny, which reads the same file and knows more (weaknesses, yanked crates). It takes minutes to
install; this takes a second, so every check runs it.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def is_allowed(licence: str, allowed: set[str]) -> bool:
    """Whether an SPDX expression can be met: one of the alternatives, all parts of it."""
    words = re.findall(r"[()]|[^\s()]+", licence.replace("/", " OR "))

    def alternatives() -> bool:
        met = parts()
        while words and words[0] == "OR":
            words.pop(0)
            met = parts() or met
        return met

    def parts() -> bool:
        met = one()
        while words and words[0] == "AND":
            words.pop(0)
            met = one() and met
        return met

    def one() -> bool:
        word = words.pop(0)
        if word == "(":
            met = alternatives()
            words.pop(0)
            return met
        if words and words[0] == "WITH":
            word = " ".join([word, words.pop(0), words.pop(0)])
        return word in allowed

    return alternatives() and not words


def problems(rules: dict, metadata: dict) -> list[str]:
    found = []
    packages = {package["id"]: package for package in metadata["packages"]}
    wrappers = {rule["crate"]: rule.get("wrappers") for rule in rules["bans"]["deny"]}
    allowed = set(rules["licenses"]["allow"])
    for node in metadata["resolve"]["nodes"]:
        user = packages[node["id"]]["name"]
        for dependency in node["deps"]:
            name = packages[dependency["pkg"]]["name"]
            if name in wrappers and user not in (wrappers[name] or []):
                found.append(f"{user} may not use {name}")
    for package in packages.values():
        name, source = f"{package['name']} {package['version']}", package["source"]
        if source is not None and not source.startswith("registry+https://github.com/rust-lang/crates.io-index"):
            found.append(f"{name} comes from {source}")
        if source is not None and not is_allowed(package["license"] or "none", allowed):
            found.append(f"{name} has the licence {package['license']}")
        for dependency in package["dependencies"]:
            if source is None and dependency["req"] == "*" and not dependency.get("path"):
                found.append(f"{name} takes any version of {dependency['name']}")
    return found


def main() -> int:
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    found, count = [], 0
    for workspace in (ROOT, ROOT / "bench"):
        command = ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"]
        metadata = json.loads(subprocess.run(command, cwd=workspace, check=True, stdout=subprocess.PIPE).stdout)
        found += problems(rules, metadata)
        count += len(metadata["packages"])
    print("\n".join(found) or f"{count} packages are as deny.toml wants them")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
