"""Imports and an export through a proxy that breaks things, on a running stack, with the processors as they are built.

    test-broken.py            every source body, and every third page of records, is cut, twelve times at random places
    test-broken.py --hang     each table gives no answer for 30 s, one after the other

Whatever it does, what is stored, reported and exported is what was sent. Run by `make test` (the first) and `make soak` (both),
inside `stack.py exec`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import ssl
import threading
import time
import urllib.request
from http.client import HTTPConnection, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import boto3

from reconfigure import reconfigure

CUTS = 12
HANG = 30
SERVICES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_DYNAMODB")
API = os.environ["API_URL"]
UPSTREAM = urlsplit(os.environ["AWS_ENDPOINT_URL"])


class Proxy(ThreadingHTTPServer):
    """Between the processors and the emulator. What it does wrong is decided by `trouble`."""

    daemon_threads = True

    def __init__(self, trouble):
        super().__init__(("127.0.0.1", 0), Handler)
        self.trouble = trouble
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        """A processor that has given up a call closes its connection: that is no news."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle_call(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.trouble.before(self.path, body)
        if UPSTREAM.scheme == "https":
            context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
            upstream = HTTPSConnection(UPSTREAM.hostname, UPSTREAM.port, context=context, timeout=120)
        else:
            upstream = HTTPConnection(UPSTREAM.hostname, UPSTREAM.port, timeout=120)
        # The Host header is part of the signature, and stays as it is.
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in ("connection", "expect"):
                upstream.putheader(name, value)
        upstream.endheaders(body)
        answer = upstream.getresponse()
        content = answer.read()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        length = answer.getheader("content-length") if self.command == "HEAD" else len(content)
        self.send_header("content-length", str(length or 0))
        self.end_headers()
        whole = len(content)
        kept = self.server.trouble.kept(self.command, self.path, body, answer.status, whole)
        self.wfile.write(content[:kept])
        if kept < whole:
            self.wfile.flush()
            self.close_connection = True
        upstream.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_call


class Cuts:
    """Cuts each source's bodies, and pages of records, so often each."""

    # Of each of the three sources, and of the pages.
    places = 4

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.cuts: dict[str, int] = {}
        self.pages = 0
        self.lock = threading.Lock()

    def again(self) -> None:
        pass

    def is_enough(self) -> bool:
        return len(self.cuts) == self.places and min(self.cuts.values()) == CUTS

    def before(self, path: str, body: bytes) -> None:
        pass

    def kept(self, method: str, path: str, body: bytes, status: int, whole: int) -> int:
        key = path.split("?")[0].split("/", 2)[-1]
        is_cut = method == "GET" and status in (200, 206) and key.startswith(("imports/clinic-one/", "uploads/clinic-one/"))
        with self.lock:
            if status == 200 and b'-records"' in body and b'"KeyConditionExpression"' in body:
                self.pages += 1
                key, is_cut = "pages", self.pages % 3 == 0
            if not is_cut or whole < 2 or self.cuts.get(key, 0) >= CUTS:
                return whole
            self.cuts[key] = self.cuts.get(key, 0) + 1
            # Small steps, so that all cuts come in one body or its rest.
            return self.random.randrange(max(1, whole // 6))


class Hangs:
    """Lets each table hang once, one after the other, from its first call on."""

    def __init__(self):
        self.until: dict[str, float] = {}
        self.lock = threading.Lock()
        self.hung: set[str] = set()

    def again(self) -> None:
        with self.lock:
            self.until.clear()

    def is_enough(self) -> bool:
        return self.hung == {"jobs", "records", "usage"}

    def before(self, path: str, body: bytes) -> None:
        for table in ("jobs", "records", "usage"):
            if f'-{table}"'.encode() in body:
                with self.lock:
                    free = max(self.until.values(), default=0)
                    until = self.until.setdefault(table, max(time.monotonic(), free) + HANG)
                time.sleep(max(0, min(HANG, until - time.monotonic())))
                self.hung.add(table)

    def kept(self, method: str, path: str, body: bytes, status: int, whole: int) -> int:
        return whole


def through(proxy: str | None) -> None:
    """Sends the calls of both processors through a proxy, or straight again."""
    functions = boto3.client("lambda")
    for name in (f"{os.environ['STACK']}-run-import", f"{os.environ['STACK']}-run-export"):
        variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        for service in SERVICES:
            variables.pop(service, None)
            if proxy:
                variables[service] = proxy
        reconfigure(functions, name, Environment={"Variables": variables})


def call(path: str, body: dict | None = None) -> dict:
    context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"]) if API.startswith("https") else None
    headers = {"x-api-key": os.environ["API_KEY"], "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(API + path, data=data, headers=headers), context=context) as answer:
        return json.load(answer)["data"]


def put(url: str, content: bytes) -> None:
    context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"]) if url.startswith("https") else None
    request = urllib.request.Request(url, data=content, method="PUT")
    urllib.request.urlopen(request, context=context).read()


def lines(name: str, count: int) -> str:
    """Every seventh line is invalid."""
    valid = '{{"id":"{}-{}","firstName":"Jane","lastName":"Doe {}"}}\n'
    return "".join('{"firstName":1}\n' if n % 7 == 3 else valid.format(name, n, "x" * (n % 90)) for n in range(count))


def ended(job: str, patience: float) -> dict:
    until = time.monotonic() + patience
    while time.monotonic() < until:
        shown = call(f"/v1/bulk/jobs/{job}")
        if shown["status"] in ("completed", "failed"):
            return shown
        time.sleep(0.5)
    raise SystemExit(f"{job} does not end")


def stored(name: str) -> set[str]:
    """The ids of the records that are in the table."""
    table = boto3.client("dynamodb").get_paginator("scan")
    pages = table.paginate(TableName=os.environ["RECORDS_TABLE"], ProjectionExpression="sk")
    return {item["sk"]["S"] for page in pages for item in page["Items"] if item["sk"]["S"].startswith(f"{name}-")}


def exported(name: str) -> list[str]:
    """The ids of these records in an export's file."""
    job = ended(call("/v1/bulk/export", {"resourceTypes": ["Patient"]})["jobId"], 300)
    if job["status"] != "completed":
        raise SystemExit(f"export: {job}")
    context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"]) if API.startswith("https") else None
    with urllib.request.urlopen(job["downloadUrl"], context=context) as file:
        ids = [json.loads(line)["id"] for line in file]
    return [id for id in ids if id.startswith(f"{name}-")]


def start(kind: str, name: str, count: int) -> str:
    data = lines(name, count)
    if kind == "inline":
        return call("/v1/bulk/import", {"resourceType": "Patient", "data": data})["jobId"]
    content = gzip.compress(data.encode()) if kind == "gzip" else data.encode()
    place = call("/v1/bulk/uploads", {"bytes": len(content)})
    put(place["uploadUrl"], content)
    return call("/v1/bulk/import", {"resourceType": "Patient", "uploadId": place["uploadId"]})["jobId"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hang", action="store_true")
    trouble = Hangs() if parser.parse_args().hang else Cuts(17)
    proxy = Proxy(trouble)
    through(proxy.url)
    passed = 0
    try:
        cases = [("inline", 5_000), ("upload", 8_000), ("gzip", 8_000)]
        for kind, count in cases:
            name = f"broken-{kind}-{os.getpid()}"
            job = ended(start(kind, name, count), 300)
            invalid = sum(1 for n in range(count) if n % 7 == 3)
            told = [job[member] for member in ("status", "totalRecords", "processedRecords", "succeededRecords", "failedRecords")]
            expected = ["completed", count, count, count - invalid, invalid]
            if told != expected:
                raise SystemExit(f"{kind}: {told}, expected {expected}: {job['errors'][:1]}")
            if (found := len(stored(name))) != count - invalid:
                raise SystemExit(f"{kind}: {found} records are stored, not {count - invalid}")
            passed += 1
            print(f"{kind}: {count} lines as they were sent", flush=True)
        trouble.again()
        ids, there = exported("broken"), stored("broken")
        if len(ids) != len(there) or set(ids) != there:
            raise SystemExit(f"export: {len(ids)} lines, {len(set(ids))} ids, not {len(there)}")
        passed += 1
        print(f"export: {len(ids)} records as they are stored", flush=True)
    finally:
        through(None)
    if not trouble.is_enough():
        raise SystemExit(f"too little went wrong: {vars(trouble)}")
    print(f"{passed} passed, 0 failed")


main()
