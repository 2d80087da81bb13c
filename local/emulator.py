"""A stack: the emulator of AWS as a process, and the production template deployed to it.

Production code and template know nothing of the emulator: what it does otherwise than AWS is worked around here.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from certificate import issue_certificate
from package import ROOT, TEMPLATE, fail, target_directory, with_code

STACK = "clinik-bulk"
REGION = "us-east-1"
HOST = "127.0.0.1"
ARTIFACTS = "artifacts"
# The emulator's HTTP server without Nagle's algorithm: 13 ms instead of 97 ms for a warm invocation.
# With TLS it would also take port 443, which it is not asked to.
EMULATOR = (
    "import socketserver; socketserver.StreamRequestHandler.disable_nagle_algorithm = True; "
    "from ministack import app; app._port_is_bindable = lambda *_: False; app.main()"
)
# Left out of a deployment: the emulator refuses composite alarms and metric math.
PARAMETERS = {"Alarms": "false"}


def binaries() -> Path:
    """Where cargo puts the binaries, wherever its target directory is."""
    return target_directory() / "debug"


def mend_event_sources(functions) -> None:
    """After each deployment: the emulator keeps a number that comes from a parameter as text, and then cannot compare it."""
    for source in functions.list_event_source_mappings()["EventSourceMappings"]:
        most = int(source["ScalingConfig"]["MaximumConcurrency"])
        functions.update_event_source_mapping(UUID=source["UUID"], ScalingConfig={"MaximumConcurrency": most})


def mend_tables(dynamodb) -> None:
    """Likewise a yes or no: an SDK that reads it refuses the text."""
    for table in dynamodb.list_tables()["TableNames"]:
        protected = dynamodb.describe_table(TableName=table)["Table"].get("DeletionProtectionEnabled")
        if isinstance(protected, str):
            dynamodb.update_table(TableName=table, DeletionProtectionEnabled=protected == "true")


@dataclass
class Stack:
    """An emulator with its own directory: process id, log, and the environment for its users.

    A strict one speaks TLS under an authority of its own and enforces all policies, as AWS does."""

    directory: Path
    port: int
    strict: bool = False

    @property
    def endpoint(self) -> str:
        # By number: with a host name the SDK would put the bucket into it.
        return f"{'https' if self.strict else 'http'}://{HOST}:{self.port}"

    @property
    def authority(self) -> Path:
        return self.directory / "ca.pem"

    def trust(self) -> dict[str, str]:
        """What makes the Rust SDK, boto3 and requests trust the stack's authority."""
        names = ("SSL_CERT_FILE", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
        return dict.fromkeys(names, str(self.authority)) if self.strict else {}

    @property
    def pid_file(self) -> Path:
        return self.directory / "emulator.pid"

    @property
    def scratch(self) -> Path:
        """The emulator unpacks the functions into it, hundreds of megabytes, and leaves them."""
        return self.directory / "tmp"

    def client(self, service: str):
        return boto3.client(
            service, endpoint_url=self.endpoint, region_name=REGION,
            aws_access_key_id="test", aws_secret_access_key="test",
            verify=str(self.authority) if self.strict else None,
            config=Config(retries={"max_attempts": 2}, s3={"addressing_style": "path"}),
        )

    # ------------------------------------------------------------ emulator

    def running_pid(self) -> int | None:
        """The emulator's process id, unless it is gone and another process has it now."""
        try:
            pid = int(self.pid_file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        if Path("/proc/self").exists():
            try:
                command = Path(f"/proc/{pid}/cmdline").read_text()
            except OSError:
                return None
        else:
            command = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True).stdout
        return pid if "ministack" in command else None

    def start(self) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, self.port))
            except OSError:
                fail(f"port {self.port} on {HOST} is taken by another program; choose another: make up PORT=…")
        # Left by an emulator that was killed.
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        keep = ("PATH", "HOME", "LANG", "SSL_CERT_FILE")
        environment = {name: os.environ[name] for name in keep if name in os.environ}
        environment |= {
            "TMPDIR": str(self.scratch),
            "AWS_ENDPOINT_URL": self.endpoint, "GATEWAY_PORT": str(self.port), "BIND_HOST": HOST,
            "SFTP_ENABLED": "0", "IOT_MTLS_ENABLED": "0", "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        }
        context = None
        if self.strict:
            certificate, key = issue_certificate(HOST, self.directory, self.authority)
            environment |= self.trust() | {
                "AUTH": "true", "USE_SSL": "1", "MINISTACK_SSL_CERT": str(certificate), "MINISTACK_SSL_KEY": str(key),
            }
            context = ssl.create_default_context(cafile=self.authority)
        with open(self.directory / "emulator.log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", EMULATOR], cwd=self.directory, env=environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )
        self.pid_file.write_text(str(process.pid))
        for _ in range(300):
            if process.poll() is not None:
                fail(f"the emulator stopped at once; see {self.directory / 'emulator.log'}")
            try:
                urllib.request.urlopen(f"{self.endpoint}/_ministack/health", timeout=2, context=context).close()
                return
            except OSError:
                time.sleep(0.1)
        self.stop()
        fail(f"the emulator does not answer; see {self.directory / 'emulator.log'}")

    def stop(self) -> None:
        """Ends the emulator, and the functions it runs: they are in its session."""
        pid = self.running_pid()
        if pid is None:
            return shutil.rmtree(self.scratch, ignore_errors=True)
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(pid, number)
            except ProcessLookupError:
                break
            for _ in range(50):
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    pass
                if self.running_pid() is None:
                    break
                time.sleep(0.1)
            else:
                continue
            break
        self.pid_file.unlink(missing_ok=True)
        shutil.rmtree(self.scratch, ignore_errors=True)

    # ------------------------------------------------------------ deployment

    def deploy(self, parameters: dict[str, str]) -> dict[str, str]:
        """Deploys the template, or updates what runs to it. Returns the template's outputs."""
        s3 = self.client("s3")
        if ARTIFACTS not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}:
            s3.create_bucket(Bucket=ARTIFACTS)
        template = self.package(s3)
        cloudformation = self.client("cloudformation")
        request = {
            "StackName": STACK, "TemplateURL": f"{self.endpoint}/{ARTIFACTS}/{template}",
            "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            "Parameters": [
                {"ParameterKey": name, "ParameterValue": value} for name, value in (PARAMETERS | parameters).items()
            ],
        }
        try:
            cloudformation.describe_stacks(StackName=STACK)
            cloudformation.update_stack(**request)
        except ClientError as error:
            message = error.response["Error"]["Message"]
            if "does not exist" in message:
                cloudformation.create_stack(**request)
            elif "No updates are to be performed" not in message:
                raise
        for _ in range(600):
            stack = cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]
            if not stack["StackStatus"].endswith("_IN_PROGRESS"):
                break
            time.sleep(0.1)
        if stack["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            events = cloudformation.describe_stack_events(StackName=STACK)["StackEvents"]
            reasons = [event.get("ResourceStatusReason", "") for event in events if "FAILED" in event["ResourceStatus"]]
            fail(f"the template could not be deployed ({stack['StackStatus']}): {'; '.join(reasons)}")
        mend_event_sources(self.client("lambda"))
        mend_tables(self.client("dynamodb"))
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def package(self, s3) -> str:
        """Puts the template and every function's code into the bucket, as `sam package` does it; returns its key.

        Artifacts are named by the hash of the binary, so that an update sees what has changed."""
        directory = binaries()
        code = lambda name: f"s3://{ARTIFACTS}/{self.upload_code(s3, directory / name)}"  # noqa: E731
        packaged = with_code(TEMPLATE.read_text(), code).encode()
        key = f"template-{hashlib.sha256(packaged).hexdigest()[:16]}.yaml"
        s3.put_object(Bucket=ARTIFACTS, Key=key, Body=packaged)
        return key

    def upload_code(self, s3, binary: Path) -> str:
        if not binary.exists():
            fail(f"{binary} is missing; build first: cargo build --workspace")
        key = f"{binary.name}-{hashlib.sha256(binary.read_bytes()).hexdigest()[:16]}.zip"
        try:
            s3.head_object(Bucket=ARTIFACTS, Key=key)
        except ClientError:
            archive = self.directory / key
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zipped:
                entry = zipfile.ZipInfo("bootstrap")
                entry.external_attr = 0o755 << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                zipped.writestr(entry, binary.read_bytes())
            s3.upload_file(str(archive), ARTIFACTS, key)
            archive.unlink()
        return key

    # ------------------------------------------------------------ tenants, keys, environment

    def environment(self, outputs: dict[str, str]) -> dict[str, str]:
        """What users of the stack need: its names, and how to reach it."""
        queues = {f"{name}_QUEUE_URL": outputs[f"{name.title()}QueueUrl"] for name in ("IMPORT", "EXPORT")}
        return {
            "API_URL": f"{self.endpoint}/_aws/execute-api/{outputs['ApiId']}/$default",
            "AWS_ENDPOINT_URL": self.endpoint, "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            "JOBS_TABLE": outputs["JobsTable"], "RECORDS_TABLE": outputs["RecordsTable"],
            "API_KEYS_TABLE": outputs["ApiKeysTable"], "USAGE_TABLE": outputs["UsageTable"],
            "DLQ_URL": outputs["ExportDlqUrl"],
            "BUCKET": outputs["Bucket"], "STACK": STACK, **queues, **self.trust(),
        }

    def admin(self, environment: dict[str, str], *arguments: str) -> dict | None:
        """Calls the operator's command line; `None` where it refuses."""
        command = [str(binaries() / "clinik-bulk-admin"), "--output", "json", *arguments]
        done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def seed(self, environment: dict[str, str]) -> dict[str, str]:
        """Two tenants, and the keys to try things out with."""
        for tenant in ("clinic-one", "clinic-two"):
            if self.admin(environment, "tenant", "show", tenant) is None:
                limits = ("--plan", "pro", "--bulk-operations-per-hour", "1000")
                if self.admin(environment, "tenant", "create", tenant, *limits) is None:
                    fail(f"tenant {tenant} could not be created")
        keys = {}
        wanted = {
            "API_KEY": ("clinic-one", "test"), "API_KEY_LIVE": ("clinic-one", "live"), "API_KEY_OTHER": ("clinic-two", "test"),
        }
        for name, (tenant, kind) in wanted.items():
            created = self.admin(environment, "key", "create", tenant, "--environment", kind)
            if created is None:
                fail(f"a key of {tenant} could not be created")
            keys[name] = created["key"]
        return keys
