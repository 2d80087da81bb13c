"""A tenant of the running service, and the command line as its migration engineer calls it."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from pathlib import Path


class Clinic:
    def __init__(self, folder: Path):
        self.folder = folder
        admin, tenant = os.environ["CLINIK_BULK_ADMIN"], f"migration-{uuid.uuid4().hex[:8]}"
        operate = lambda *arguments: subprocess.run([admin, "--output", "json", *arguments], check=True, stdout=subprocess.PIPE).stdout  # noqa: E731
        operate("tenant", "create", tenant, "--plan", "enterprise", "--bulk-operations-per-hour", "1000")
        made = json.loads(operate("key", "create", tenant, "--environment", "test"))
        names = {"CLINIKAPI_BASE_URL": os.environ["API_URL"], "CLINIKAPI_SECRET_KEY": made["key"], "XDG_CONFIG_HOME": str(folder)}
        self.environment = os.environ | names

    def run(self, *arguments: str, code: int = 0) -> str:
        command = [os.environ["CLINIK_BULK"], *arguments]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        if done.returncode != code:
            raise SystemExit(f"{arguments}: exit code {done.returncode}, not {code}: {done.stderr[-2000:]}")
        return done.stdout

    def write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
