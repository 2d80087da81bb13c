"""Restores a stack's tables to an earlier moment, as RUNBOOK.md has it, on an emulator of its own: a drill, and a test of it.

    python local/drill.py

What the emulator cannot show: point-in-time recovery itself (backups stand for it), time, and the import of the restored
tables into the stack. Run by `make drill` and `make test`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from emulator import HOST, STACK, Stack, binaries
from reconfigure import reconfigure

SUFFIX = "-restored"
TABLES = {"jobs": "expiresAt", "records": "e", "api-keys": "expiresAt", "usage": "expiresAt"}
PARAMETERS = {"StageName": "drill", "RedriveSeconds": "5", "ChangeLogSettleSeconds": "1"}


def expect(held: bool, what: str) -> None:
    if not held:
        sys.exit(f"local/drill.py: {what}")


def tell(what: str) -> None:
    print(f"holds   {what}", flush=True)


class Drill:
    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.dynamodb = stack.client("dynamodb")
        self.deploy()

    def deploy(self, **parameters: str) -> None:
        self.environment = self.stack.environment(self.stack.deploy(PARAMETERS | parameters))

    def admin(self, *arguments: str, fails: bool = False) -> dict | list:
        command = [str(binaries() / "clinik-bulk-admin"), "--output", "json", "--stack", STACK, *arguments]
        done = subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True)
        expect((done.returncode != 0) == fails, f"{' '.join(arguments)}: {done.stderr}")
        return json.loads(done.stdout)

    def findings(self) -> set[str]:
        """What `check` finds, and that it fails when that is anything."""
        command = [str(binaries() / "clinik-bulk-admin"), "--output", "json", "--stack", STACK, "check"]
        done = subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True)
        found = json.loads(done.stdout or "[]")
        expect((done.returncode == 0) == (not found), f"check: {done.stderr}")
        return {f"{finding['about']}: {finding['finding'].split(':')[0]}" for finding in found}

    def call(self, key: str, method: str, path: str, body: dict | None = None) -> tuple[int, dict]:
        headers = {"x-api-key": key, "content-type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.environment["API_URL"] + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or "{}")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or "{}")

    def ended(self, key: str, job: str) -> dict:
        for _ in range(300):
            status, answer = self.call(key, "GET", f"/v1/bulk/jobs/{job}")
            expect(status == 200, f"a job's status answered {status}")
            if answer["data"]["status"] in ("completed", "failed"):
                return answer["data"]
            time.sleep(0.2)
        sys.exit("local/drill.py: a job does not end")

    def imported(self, key: str, names: range) -> str:
        lines = [json.dumps({"id": f"p-{number}", "firstName": "A", "lastName": "B"}) for number in names]
        status, answer = self.call(key, "POST", "/v1/bulk/import", {"resourceType": "Patient", "data": "\n".join(lines)})
        expect(status == 202, f"an import answered {status}")
        job = self.ended(key, answer["data"]["jobId"])
        expect(job["status"] == "completed" and job["succeededRecords"] == len(names), f"an import ended as {job}")
        return job["id"]

    def exported(self, key: str, since: str | None = None) -> tuple[dict, set[str]]:
        status, answer = self.call(key, "POST", "/v1/bulk/export", {"resourceTypes": ["Patient"], "since": since})
        expect(status == 202, f"an export answered {status}")
        job = self.ended(key, answer["data"]["jobId"])
        with urllib.request.urlopen(job["downloadUrl"], timeout=60) as file:
            return job, {json.loads(line)["id"] for line in file.read().splitlines()}

    # ------------------------------------------------------------ the procedure, step by step

    def backups(self) -> dict[str, str]:
        made = {}
        for table in TABLES:
            backup = self.dynamodb.create_backup(TableName=f"{STACK}-{table}", BackupName="moment")
            made[table] = backup["BackupDetails"]["BackupArn"]
        return made

    def lose_records(self) -> None:
        table = f"{STACK}-records"
        for page in self.dynamodb.get_paginator("scan").paginate(TableName=table, ProjectionExpression="pk, sk"):
            for key in page["Items"]:
                self.dynamodb.delete_item(TableName=table, Key=key)

    def restore(self, backups: dict[str, str]) -> None:
        for table, backup in backups.items():
            self.dynamodb.restore_table_from_backup(TargetTableName=f"{STACK}-{table}{SUFFIX}", BackupArn=backup)

    def settings(self) -> None:
        """What a restore forgets."""
        for table, attribute in TABLES.items():
            name = f"{STACK}-{table}{SUFFIX}"
            expires = {"Enabled": True, "AttributeName": attribute}
            self.dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=expires)
            recovery = {"PointInTimeRecoveryEnabled": True}
            self.dynamodb.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=recovery)
            self.dynamodb.update_table(TableName=name, DeletionProtectionEnabled=True)


def drill(stack: Stack) -> None:
    live = Drill(stack)
    keys = {}
    for tenant in ("stays", "leaves"):
        live.admin("tenant", "create", tenant, "--plan", "pro", "--bulk-operations-per-hour", "1000")
        keys[tenant] = live.admin("key", "create", tenant, "--environment", "live")
    leaked = live.admin("key", "create", "stays", "--environment", "live")
    key, gone = keys["stays"]["key"], keys["leaves"]["key"]
    first = live.imported(key, range(50))
    live.imported(gone, range(5))
    whole, known = live.exported(key)
    expect(len(known) == 50, f"{len(known)} records")

    moment = whole["completedAt"]
    backups = live.backups()
    time.sleep(1)
    # What comes after the moment: some of it has to be done again, some is lost.
    live.imported(key, range(100, 110))
    live.admin("key", "revoke", "stays", leaked["id"])
    live.admin("record", "delete", "stays", "live", "Patient", "p-1", "--wait", "0")
    live.admin("key", "revoke", "leaves", keys["leaves"]["id"])
    live.admin("tenant", "purge", "leaves", "--environment", "live", "--confirm", "leaves")
    later, changed = live.exported(key, whole["transactionTime"])
    expect({f"p-{number}" for number in range(100, 110)} <= changed, "the chain has what is new")

    # The records are lost, and the procedure begins.
    audit = live.admin("audit", "--since", moment)
    live.lose_records()
    live.deploy(Processing="off")
    live.restore(backups)
    live.deploy(Processing="off", TablesInStack="false", TablesSuffix=SUFFIX)
    names = live.dynamodb.list_tables()["TableNames"]
    expect({f"{STACK}-{table}" for table in TABLES if table != "records"} <= set(names), f"an old table is gone: {names}")
    found = live.findings()
    for table in TABLES:
        for forgotten in ("no time to live", "no point-in-time recovery", "no deletion protection"):
            expect(f"{STACK}-{table}{SUFFIX}: {forgotten}" in found, f"check does not see: {forgotten} of {table}")
    expect(sum("is not enabled" in one for one in found) == 2, f"check does not see that both sources are off: {found}")
    functions = stack.client("lambda")
    settings = functions.get_function_configuration(FunctionName=f"{STACK}-run-export", Qualifier="live")["Environment"]["Variables"]
    reconfigure(functions, f"{STACK}-run-export", Environment={"Variables": settings | {"RECORDS_TABLE": "elsewhere"}})
    expect(any("elsewhere as RECORDS_TABLE" in one for one in live.findings()), "check does not see another table's name")
    reconfigure(functions, f"{STACK}-run-export", Environment={"Variables": settings})
    tell("check finds what the restore has forgotten, what is switched off, and a version that names another table")
    live.settings()

    brought_back = [key["id"] for key in live.admin("key", "list", "stays") if "revokedAt" not in key]
    expect(leaked["id"] in brought_back, "the restore brings a revoked key back")
    for action in audit:
        match action["action"]:
            case "key.revoked":
                live.admin("key", "revoke", action["tenant"], action["subject"])
            case "record.deleted":
                resource_type, record = action["subject"].split("/")
                live.admin("record", "delete", action["tenant"], action["environment"], resource_type, record, "--wait", "0")
            case "tenant.purged":
                arguments = ("--environment", action["environment"], "--confirm", action["tenant"])
                live.admin("tenant", "purge", action["tenant"], *arguments)
    live.deploy(TablesInStack="false", TablesSuffix=SUFFIX)
    expect(not live.findings(), f"check still finds: {live.findings()}")
    tell("what was done since the moment is done again, from the audit items; check finds nothing")

    # Functions keep keys in mind for a minute; those that have begun with the new tables have seen neither of these.
    for revoked in (leaked["key"], gone):
        status, _ = live.call(revoked, "GET", "/v1/bulk/limits")
        expect(status == 401, f"a revoked key is answered with {status}")
    tell("a revoked key stays revoked")
    job = live.ended(key, first)
    expect(job["succeededRecords"] == 50, f"a job of before: {job}")
    expect(live.call(key, "GET", f"/v1/bulk/jobs/{later['id']}")[0] == 404, "a job of after the moment is there")
    _, now = live.exported(key)
    expect(now == known - {"p-1"}, f"records differ: {now ^ (known - {'p-1'})}")
    tell("records, keys and jobs of the moment are back, and the record that was deleted since is not")
    _, chain = live.exported(key, later["transactionTime"])
    expect(chain.isdisjoint({f"p-{number}" for number in range(100, 110)}), "what is lost is in a chain")
    live.imported(key, range(200, 210))
    _, now = live.exported(key)
    expect(len(now) == 59, f"{len(now)} records")
    tell("work goes on; a chain from before the restore has records that are lost: tenants begin again with a whole export")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="clinik-bulk-drill-") as directory, socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
        free.close()
        stack = Stack(Path(directory), port)
        try:
            stack.start()
            drill(stack)
        finally:
            stack.stop()


if __name__ == "__main__":
    main()
