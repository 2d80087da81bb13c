"""What several steps need."""

import datetime
from pathlib import Path

from harness import (
    ROOT, TYPE, Endpoint, Table, Usage, imported, node, python, run_ours,
)


MIB = 1 << 20
SHARDS = 16


def up(count: float, of: int) -> int:
    """How many of that size it takes."""
    return -(-int(count) // of)


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def at_most(table: Table, goal: str, what: str, ours: float, most: float, why: str = "") -> None:
    """A row of a count and its bound."""
    bound = f"≤ {most:,}" + (f" = {why}" if why else "")
    table.add(goal, what, f"{ours:,.1f}" if isinstance(ours, float) else f"{ours:,}", bound, "", ours <= most)


def draw(name: str, picture, *arguments) -> None:
    (ROOT / "docs").mkdir(exist_ok=True)
    picture(ROOT / "docs" / name, *arguments)


def import_all(endpoint: Endpoint, paths: list[Path], resource_type: str = TYPE) -> Usage:
    """Imports files in one process; every one of their records has to be written."""
    messages = [endpoint.prepare("import", resource_type, str(path)) for path in paths]
    used = run_ours(endpoint, "run-import", messages)
    for message, path in zip(messages, paths):
        if imported(endpoint, message) != path.read_bytes().count(b"\n"):
            raise SystemExit(f"{imported(endpoint, message)} records of {path.name} were imported")
    return used


def peers(keys: list[str]) -> dict[str, list]:
    """The commands of all peers. Exports follow the imports whose records they read."""
    return {
        "import, Node": node("import.mjs", TYPE, *keys),
        "export, Node, maps": node("export.mjs", "maps", "node#live", TYPE, "node-maps"),
        "export, Node, raw lines": node("export.mjs", "lines", "bench#live", TYPE, "node-lines"),
        "import, Python": python("importer.py", TYPE, *keys),
        "export, Python, maps": python("exporter.py", "maps", "python#live", TYPE, "python-maps"),
        "export, Python, raw lines": python("exporter.py", "lines", "bench#live", TYPE, "python-lines"),
    }
