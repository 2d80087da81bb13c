"""The whole service on one machine: an emulator of AWS, and the production template deployed to it.

    stack.py up [--port N]    start or update, seed two tenants, write .local/env
    stack.py down             stop, and remove all that was stored
    stack.py logs             show what the functions say
    stack.py exec -- CMD …    run CMD against a stack of its own, with TLS and policies enforced, then stop it
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from certificate import issue_certificate

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "template.yaml"
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


def fail(sentence: str) -> None:
    sys.exit(f"error: {sentence}")


def binaries() -> Path:
    """Where cargo puts the binaries, wherever its target directory is."""
    metadata = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked", "--offline"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )
    return Path(json.loads(metadata.stdout)["target_directory"]) / "debug"


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
        self.directory.mkdir(parents=True, exist_ok=True)
        keep = ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE")
        environment = {name: os.environ[name] for name in keep if name in os.environ}
        environment |= {
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
            return
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
            "Parameters": [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
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
        self.mend_event_sources()
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def mend_event_sources(self) -> None:
        """The emulator keeps a number that comes from a parameter as text, and then cannot compare it."""
        functions = self.client("lambda")
        for source in functions.list_event_source_mappings()["EventSourceMappings"]:
            most = int(source["ScalingConfig"]["MaximumConcurrency"])
            functions.update_event_source_mapping(UUID=source["UUID"], ScalingConfig={"MaximumConcurrency": most})

    def package(self, s3) -> str:
        """Puts the template and every function's code into the bucket, as `sam package` does it; returns its key.

        Artifacts are named by the hash of the binary, so that an update sees what has changed."""
        directory = binaries()
        lines = []
        globals_code = "    CodeUri: .\n"
        text = TEMPLATE.read_text()
        if text.count(globals_code) != 1:
            fail("template.yaml: Globals have one CodeUri")
        for line in text.replace(globals_code, "").splitlines(keepends=True):
            lines.append(line)
            if "BuildProperties: { Binary:" in line:
                name = line.split("Binary:")[1].strip(" }\n")
                key = self.upload_code(s3, directory / name)
            elif line == "    Properties:\n" and "BuildProperties" in lines[-2]:
                lines.append(f"      CodeUri: s3://{ARTIFACTS}/{key}\n")
        packaged = "".join(lines).encode()
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
            "DEAD_LETTERS_URL": outputs["ExportDeadLettersUrl"],
            "BUCKET": outputs["Bucket"], "STACK": STACK, **queues, **self.trust(),
        }

    def admin(self, environment: dict[str, str], *arguments: str) -> dict | None:
        """Calls the operator's command line; `None` where it refuses."""
        command = [str(binaries() / "clinik-bulk"), "--output", "json", "admin", *arguments]
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


def local_stack(port: int) -> Stack:
    return Stack(ROOT / ".local", port)


def read_env(path: Path) -> dict[str, str]:
    """Reads what `write_env` wrote."""
    if not path.exists():
        return {}
    pairs = (line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
    return {name.removeprefix("export "): value.strip("'") for name, value in pairs}


def write_env(path: Path, values: dict[str, str]) -> None:
    path.write_text("".join(f"export {name}='{value}'\n" for name, value in values.items()))
    path.chmod(0o600)


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
    write_env(stack.directory / "env", environment)
    print(WELCOME.format(**environment))


WELCOME = """
The service runs on this machine.

  base URL                    {API_URL}
  test key of clinic-one      {API_KEY}
  live key of clinic-one      {API_KEY_LIVE}
  test key of clinic-two      {API_KEY_OTHER}

Put them into your shell:

  . .local/env

Import two patients:

  curl -X POST "$API_URL/v1/bulk/import" -H "x-api-key: $API_KEY" -H "Content-Type: application/json" -d '{{
      "resourceType": "Patient",
      "data": "{{\\"firstName\\":\\"Jane\\",\\"lastName\\":\\"Doe\\"}}\\n{{\\"firstName\\":\\"John\\",\\"lastName\\":\\"Smith\\"}}"
    }}'

Ask how far the job is (put the jobId of the answer in):

  curl "$API_URL/v1/bulk/jobs/job_…" -H "x-api-key: $API_KEY"

Export them, ask until it is completed, and download the file:

  curl -X POST "$API_URL/v1/bulk/export" -H "x-api-key: $API_KEY" -H "Content-Type: application/json" \\
    -d '{{"resourceTypes": ["Patient"]}}'
  curl -o export.ndjson "<downloadUrl>"

make demo does all of it; make logs shows what the functions say; make down stops it.
"""


def down() -> None:
    stack = local_stack(0)
    was_running = stack.running_pid() is not None
    stack.stop()
    shutil.rmtree(stack.directory, ignore_errors=True)
    print("stopped, and removed all it had stored" if was_running else "nothing was running")


def logs() -> None:
    environment = read_env(ROOT / ".local" / "env")
    stack = local_stack(int(environment.get("AWS_ENDPOINT_URL", ":0").rsplit(":", 1)[1]))
    if stack.running_pid() is None:
        fail("nothing is running; start it with make up")
    client = stack.client("logs")
    seen: set[tuple[str, int, str]] = set()
    while True:
        lines = []
        for group in client.describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{STACK}-")["logGroups"]:
            name = group["logGroupName"]
            for event in client.filter_log_events(logGroupName=name)["events"]:
                line = (name.rsplit(f"{STACK}-", 1)[1], event["timestamp"], event["message"].rstrip())
                if line not in seen:
                    seen.add(line)
                    lines.append(line)
        for function, timestamp, message in sorted(lines, key=lambda line: line[1]):
            moment = time.strftime("%H:%M:%S", time.localtime(timestamp / 1000))
            print(f"{moment}  {function:<12}  {message}", flush=True)
        time.sleep(1)


# Leases, repeats and turns of seconds, so that tests see them end; and every export in two segments.
SHORT_TIMES = {"LeaseSeconds": "6", "ResendSeconds": "5", "ExportSegments": "2", "TurnSeconds": "3"}


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
