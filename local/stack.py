"""The whole service on one machine: an emulator of AWS, and the production template deployed to it.

    stack.py up [--port N]    start or update, seed two tenants, write .local/env
    stack.py down             stop, and remove all that was stored
    stack.py logs             show what the functions say
    stack.py exec -- CMD …    run CMD against a stack of its own, with TLS and policies enforced, then stop it
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from emulator import HOST, ROOT, STACK, Stack, binaries, fail
from log_events import log_events


def local_stack(port: int) -> Stack:
    return Stack(ROOT / ".local", port)


def read_env(path: Path) -> dict[str, str]:
    """Reads what `write_env` wrote."""
    if not path.exists():
        return {}
    pairs = (line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
    return {name.removeprefix("export "): value.strip("'") for name, value in pairs}


def write_env(path: Path, values: dict[str, str]) -> None:
    # Keys stand in it: nobody else may read them, not for a moment.
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.writelines(f"export {name}='{value}'\n" for name, value in values.items())
        file.write(f"export PATH='{binaries()}':\"$PATH\"\n")


def up(port: int) -> None:
    stack = local_stack(port)
    known = read_env(stack.directory / "env")
    if stack.running_pid() is not None:
        running = int(known.get("AWS_ENDPOINT_URL", f":{port}").rsplit(":", 1)[1])
        if running != port:
            fail(f"it runs on port {running} already; stop it first (make down), or use make up PORT={running}")
    else:
        known = {}
        stack.start()
    outputs = stack.deploy({"StageName": "local", "DeletionProtection": "false"})
    environment = stack.environment(outputs)
    keys = {name: known[name] for name in ("API_KEY", "API_KEY_LIVE", "API_KEY_OTHER") if name in known}
    environment |= keys or stack.seed(environment)
    # The names under which both clients look for them.
    of_clients = {"CLINIKAPI_BASE_URL": environment["API_URL"], "CLINIKAPI_SECRET_KEY": environment["API_KEY"]}
    write_env(stack.directory / "env", environment | of_clients)
    print(WELCOME.format(**environment))


WELCOME = """
The service runs on this machine.

  base URL                    {API_URL}
  test key of clinic-one      {API_KEY}
  live key of clinic-one      {API_KEY_LIVE}
  test key of clinic-two      {API_KEY_OTHER}

Put them into your shell, and import, look, export:

  . .local/env
  clinik-bulk import events/samples/records
  clinik-bulk jobs list
  clinik-bulk export --all --per-type --out backup

Or by HTTP (put the jobId of the answer into the second call):

  curl -X POST "$API_URL/v1/bulk/import" -H "x-api-key: $API_KEY" -H "Content-Type: application/json" -d '{{
      "resourceType": "Patient",
      "data": "{{\\"firstName\\":\\"Jane\\",\\"lastName\\":\\"Doe\\"}}\\n{{\\"firstName\\":\\"John\\",\\"lastName\\":\\"Smith\\"}}"
    }}'
  curl "$API_URL/v1/bulk/jobs/job_…" -H "x-api-key: $API_KEY"

make demo tells the whole story; make logs shows what the functions say; make down stops it.
"""


def down() -> None:
    stack = local_stack(0)
    was_running = stack.running_pid() is not None
    stack.stop()
    shutil.rmtree(stack.directory, ignore_errors=True)
    print("stopped, and removed all it had stored" if was_running else "nothing was running")


def function_of(line: str) -> str:
    """The function that has written a line: functions of a kind share a log group, so each line says it."""
    try:
        return json.loads(line)["function"].removeprefix(f"{STACK}-")
    except (ValueError, TypeError, KeyError, AttributeError):
        return "-"


# Milliseconds that are read again, for lines that arrive late.
OVERLAP = 60_000


def logs() -> None:
    environment = read_env(ROOT / ".local" / "env")
    stack = local_stack(int(environment.get("AWS_ENDPOINT_URL", ":0").rsplit(":", 1)[1]))
    if stack.running_pid() is None:
        fail("nothing is running; start it with make up")
    client = stack.client("logs")
    seen: set[tuple[str, int, str]] = set()
    latest = OVERLAP
    while True:
        lines = []
        for group in client.describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{STACK}-")["logGroups"]:
            name = group["logGroupName"]
            for event in log_events(client, name, since=latest - OVERLAP):
                line = (function_of(event["message"]), event["timestamp"], event["message"].rstrip())
                if line not in seen:
                    seen.add(line)
                    lines.append(line)
        for function, timestamp, message in sorted(lines, key=lambda line: line[1]):
            moment = time.strftime("%H:%M:%S", time.localtime(timestamp / 1000))
            print(f"{moment}  {function:<12}  {message}", flush=True)
            latest = max(latest, timestamp)
        time.sleep(1)


# Leases, redrives and time slices of seconds, so that tests see them end.
SHORT_TIMES = {"LeaseSeconds": "6", "RedriveSeconds": "5", "TimeSliceSeconds": "3", "ChangeLogSettleSeconds": "1"}


def run(command: list[str], times: dict[str, str]) -> int:
    """Runs a command against a strict stack of its own, and stops it whatever happens."""
    with tempfile.TemporaryDirectory(prefix="clinik-bulk-") as directory:
        with socket.socket() as free:
            free.bind((HOST, 0))
            port = free.getsockname()[1]
        stack = Stack(Path(directory), port, strict=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            stack.start()
            parameters = {"StageName": "test", "DeletionProtection": "false", **times}
            environment = stack.environment(stack.deploy(parameters))
            environment |= stack.seed(environment)
            environment["CLINIK_BULK"] = str(binaries() / "clinik-bulk")
            environment["CLINIK_BULK_ADMIN"] = str(binaries() / "clinik-bulk-admin")
            print(f"a stack for this run is up on {stack.endpoint}", flush=True)
            status = subprocess.run(command, env=os.environ | environment).returncode
            if status != 0 and os.environ.get("KEEP_LOG"):
                shutil.copy(stack.directory / "emulator.log", os.environ["KEEP_LOG"])
            return status
        finally:
            stack.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up").add_argument("--port", type=int, default=4566)
    commands.add_parser("down")
    commands.add_parser("logs")
    execute = commands.add_parser("exec")
    execute.add_argument("--deployed-times", action="store_true", help="leases and the like as the template has them")
    execute.add_argument("argv", nargs="+", metavar="CMD")
    arguments = parser.parse_args()
    try:
        if arguments.command == "up":
            up(arguments.port)
        elif arguments.command == "down":
            down()
        elif arguments.command == "logs":
            logs()
        else:
            return run(arguments.argv, {} if arguments.deployed_times else SHORT_TIMES)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
