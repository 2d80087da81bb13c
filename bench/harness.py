"""What measures: the endpoint that stands for AWS, workers under Lambda's runtime API, peers, and the table."""

import atexit
import hashlib
import json
import os
import queue
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RELEASE = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
PEERS = ROOT / "bench" / "peers"
QUICK = os.environ.get("QUICK", "") not in ("", "0")
RECORDS = 10_000 if QUICK else 100_000
MANY = 100_000 if QUICK else 1_000_000
RUNS = 1 if QUICK else int(os.environ.get("RUNS", "5"))
BATCH = 10_000
KEY = "clk_live_BENCHKEY000000"
TYPE = "Observation"
FUNCTIONS = sorted(path.name for path in (ROOT / "functions").iterdir())
WORK = Path(tempfile.mkdtemp(prefix="clinik-bench-"))


def get(url: str, data: bytes | None = None) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=600) as answer:
        return answer.read()


class Endpoint:
    """The process that stands for AWS."""

    def __init__(self):
        self.process = subprocess.Popen([RELEASE / "endpoint"], stdout=subprocess.PIPE, text=True)
        # Whatever becomes of the run, it goes.
        atexit.register(self.process.kill)
        self.url = self.process.stdout.readline().strip()
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", ""),
            "AWS_ENDPOINT_URL": self.url, "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench",
            "JOBS_TABLE": "jobs", "USAGE_TABLE": "usage", "RECORDS_TABLE": "records", "API_KEYS_TABLE": "api-keys",
            "BUCKET": "bucket", "IMPORT_QUEUE_URL": f"{self.url}/imports", "EXPORT_QUEUE_URL": f"{self.url}/exports",
            "AWS_LAMBDA_FUNCTION_NAME": "bench", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
            "MALLOC_MMAP_THRESHOLD_": "131072",  # as the template has it
            "CHANGE_LOG_SETTLE_SECONDS": "1",  # the deployed 10 s would be most of what a small export takes
            "AWS_LAMBDA_FUNCTION_VERSION": "1", "LOG_LEVEL": "WARN",
        }

    def set(self, **limits) -> None:
        get(f"{self.url}/_set?" + "&".join(f"{name}={value}" for name, value in limits.items()), b"")

    def stats(self) -> dict:
        return json.loads(get(f"{self.url}/_stats"))

    def messages(self) -> list[str]:
        return [json.loads(text)["MessageBody"] for text in json.loads(get(f"{self.url}/_messages", b""))]

    def object(self, key: str) -> bytes:
        return get(f"{self.url}/bucket/{key}")

    def put(self, key: str, path: Path) -> None:
        request = urllib.request.Request(f"{self.url}/bucket/{key}", data=path.read_bytes(), method="PUT")
        urllib.request.urlopen(request).read()

    def item(self, job_id: str) -> dict:
        """A job's item."""
        body = {"TableName": "jobs", "Key": {"pk": {"S": "bench#live"}, "sk": {"S": job_id}}}
        request = urllib.request.Request(self.url, data=json.dumps(body).encode(), headers={"X-Amz-Target": "DynamoDB_20120810.GetItem"})
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.load(answer)["Item"]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()

    def prepare(self, *arguments: str) -> str:
        done = subprocess.run([RELEASE / "prepare", *arguments], env=self.environment, check=True, capture_output=True, text=True)
        return done.stdout.strip()


class Usage:
    """What a process has used: CPU seconds, wall seconds, peak memory in MiB."""

    def __init__(self, cpu: float, wall: float, peak: float):
        self.cpu, self.wall, self.peak = cpu, wall, peak


def peak_of(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024


def share_of_a_core(share: float) -> Path | None:
    """A control group whose processes get so much of one core, as Lambda gives it by memory; `None` where none can be made."""
    period = 20_000
    for root, settings in ((Path("/sys/fs/cgroup/cpu"), {"cpu.cfs_period_us": period, "cpu.cfs_quota_us": int(share * period)}),
                           (Path("/sys/fs/cgroup"), {"cpu.max": f"{int(share * period)} {period}"})):
        group = root / f"clinik-bench-{os.getpid()}-{int(share * 1000)}"
        try:
            group.mkdir()
            for name, value in settings.items():
                (group / name).write_text(str(value))
        except OSError:
            continue
        atexit.register(group.rmdir)
        return group
    return None


class Worker:
    """A function's process, and the runtime API that it asks for invocations."""

    def __init__(self, command: list, environment: dict, core: Path | None = None):
        self.invocations: queue.Queue = queue.Queue()
        self.answers: queue.Queue = queue.Queue()
        worker = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def handle(self):
                try:
                    super().handle()
                except ConnectionResetError:
                    pass  # The worker was ended while it waited for an invocation.

            def do_GET(self):
                event = worker.invocations.get()
                body = json.dumps(event).encode()
                self.send_response(200)
                deadline = int((time.time() + 900) * 1000)
                for name, value in {
                    "Lambda-Runtime-Aws-Request-Id": "00000000-0000-0000-0000-000000000000",
                    "Lambda-Runtime-Deadline-Ms": str(deadline), "Content-Type": "application/json",
                    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:000000000000:function:bench",
                    "Content-Length": str(len(body)),
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    self.wfile.write(body)
                except BrokenPipeError:
                    pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("Transfer-Encoding") == "chunked":
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()
                worker.answers.put((time.monotonic(), self.path.rsplit("/", 1)[-1], body))

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        address = f"127.0.0.1:{self.server.server_address[1]}"
        self.began = time.monotonic()
        if core:
            # It joins the group, and then becomes the worker.
            command = ["sh", "-c", f'echo $$ > {core / "cgroup.procs"} && exec "$@"', "sh", *command]
        self.process = subprocess.Popen(command, env=environment | {"AWS_LAMBDA_RUNTIME_API": address}, stdout=subprocess.DEVNULL)

    def invoke(self, event: dict) -> bytes:
        self.invocations.put(event)
        at, kind, body = self.answers.get(timeout=900)
        if kind != "response" or b"itemIdentifier" in body:
            raise SystemExit(f"the invocation failed: {body.decode()}")
        self.answered = at
        return body

    def deliver(self, message: str) -> None:
        self.invoke({"Records": [{"messageId": "1", "body": message, "attributes": {}, "messageAttributes": {},
                                  "eventSource": "aws:sqs", "awsRegion": "us-east-1"}]})

    def end(self) -> Usage:
        peak = peak_of(self.process.pid)
        self.process.kill()
        _, _, used = os.wait4(self.process.pid, 0)
        self.process.returncode = 0
        self.server.shutdown()
        self.server.server_close()
        return Usage(used.ru_utime + used.ru_stime, self.answered - self.began, peak)


def run_to_end(endpoint: Endpoint, worker: Worker, message: str) -> int:
    """Delivers a message, and those that come of it, until its job is completed; returns how often that was."""
    worker.deliver(message)
    deliveries = 1
    while "completed" not in (state := job_of(endpoint, message)["state"].get("M", {})):
        waiting = endpoint.messages()
        if not waiting:
            raise SystemExit(f"the job did not complete: {json.dumps(state)[:2_000]}")
        for text in waiting:
            worker.deliver(text)
            deliveries += 1
    return deliveries


def run_ours(endpoint: Endpoint, function: str, messages: list[str]) -> Usage:
    """Runs jobs to their ends in one new process of a function."""
    worker = Worker([RELEASE / function], endpoint.environment)
    for message in messages:
        run_to_end(endpoint, worker, message)
    return worker.end()


def run_peer(endpoint: Endpoint, command: list) -> Usage:
    return run_command(command, endpoint.environment)


def run_command(command: list, environment: dict[str, str], expected: int = 0) -> Usage:
    """Runs a command to its end, which has to be that exit code; what it prints is dropped unless it is an error."""
    began = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    peak = 0.0
    while True:
        try:
            peak = max(peak, peak_of(process.pid))
        except (AttributeError, FileNotFoundError, ProcessLookupError):
            pass
        pid, status, used = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode != expected:
                raise SystemExit(f"{command} ended with {process.returncode}")
            return Usage(used.ru_utime + used.ru_stime, time.monotonic() - began, peak)
        time.sleep(0.02)


def files(count: int, shape: str = "observation", first: int = 0, batch: int = BATCH) -> list[Path]:
    """So many records of a shape, from that number on, in files of a batch each."""
    made = []
    for start in range(first, first + count, batch):
        size = min(batch, first + count - start)
        path = WORK / f"{shape}-{start}-{size}.ndjson"
        if not path.exists():
            with path.open("wb") as out:
                subprocess.run([RELEASE / "generate", shape, str(start), str(size)], stdout=out, check=True)
        made.append(path)
    return made


def node(*arguments: str) -> list:
    return ["node", str(PEERS / "node" / arguments[0]), *arguments[1:]]


def python(*arguments: str) -> list:
    return [str(PEERS / "python" / ".venv" / "bin" / "python"), str(PEERS / "python" / arguments[0]), *arguments[1:]]


def job_of(endpoint: Endpoint, message: str) -> dict:
    """The job that a message is about, in DynamoDB's types."""
    return endpoint.item(json.loads(message)["jobId"])["job"]["M"]


def imported(endpoint: Endpoint, message: str) -> int:
    """How many records an import has written, as the job says."""
    return int(job_of(endpoint, message)["progress"]["M"]["succeeded"]["N"])


def file_of(endpoint: Endpoint, message: str) -> bytes:
    """The one file that a completed export has left; checked against the size and the hash that the job names."""
    result = job_of(endpoint, message)["state"]["M"]["completed"]["M"]["export"]["M"]
    (file,) = (file["M"] for file in result["files"]["L"])
    content = endpoint.object(file["key"]["S"])
    if len(content) != int(file["bytes"]["N"]) or hashlib.sha256(content).hexdigest() != file["sha256"]["S"]:
        raise SystemExit("the file is not what the job says")
    return content


def same(content: bytes) -> str:
    """A hash of what the lines say, whatever their order and the members' order, but for stamps and tags."""
    lines = []
    for line in content.splitlines():
        record = json.loads(line)
        del record["meta"]
        lines.append(json.dumps(record, sort_keys=True))
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def sorted_hash(content: bytes) -> str:
    return hashlib.sha256(b"\n".join(sorted(content.splitlines()))).hexdigest()


class Table:
    def __init__(self):
        self.rows = []

    def add(self, goal: str, what: str, ours: str, peer: str, ratio: str, holds: bool | None) -> None:
        verdict = {True: "holds", False: "NO", None: "-"}[holds]
        self.rows.append((goal, what, ours, peer, ratio, verdict))
        print(f"  {goal:>3}  {what}: {ours} | {peer} | {ratio} | {verdict}", file=sys.stderr, flush=True)

    def show(self) -> str:
        head = ("#", "Goal", "Ours", "Peer", "Ratio", "Holds")
        ordered = sorted(self.rows, key=lambda row: int(row[0] or 99))
        rows = ["| " + " | ".join(row) + " |" for row in (head, tuple("---" for _ in head), *ordered)]
        return "\n".join(rows)


def measured(runs: list[Usage]) -> tuple[float, str]:
    cpu = [run.cpu for run in runs]
    text = f"{min(cpu):.2f} s"
    return min(cpu), text if len(cpu) == 1 else f"{text} (median {statistics.median(cpu):.2f})"
