"""A story against a running stack, over HTTP alone: what holds on this one, and what does not.

    API_URL=… API_KEY=… smoke.py [--operator STACK]

It takes seven bulk operations: on AWS raise the tenant's limit first, or wait between runs. It deletes the jobs that it
starts; twelve records with ids that begin with `smoke-` stay in the partition of the key. With --operator the metrics,
audit lines and alarms of the run are looked for in the stack's account (boto3 and AWS credentials): in what
CloudFormation says is the stack's own, since names of other stacks may begin with the same words.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from log_events import log_events

BASE, KEY = os.environ.get("API_URL", "").rstrip("/"), os.environ.get("API_KEY", "")
# Long enough for the largest batch on a slow stack.
JOB_TIME = 180
# Bulk operations of the whole story.
OPERATIONS = 7
# What an operator looks at: the last 15 minutes, or more if this run takes longer.
BEGAN = time.time()
LOOK_BACK = 900
# CloudWatch shows a line after seconds, a metric after a minute or two, and promises neither.
LINE_TIME, METRIC_TIME = 60, 300
# The emulator makes no metrics of the lines that hold them.
IS_LOCAL = bool(os.environ.get("AWS_ENDPOINT_URL"))


class Broken(Exception):
    """What does not hold."""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments, **_options):
        return None


CONTEXT = ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE") or None)
OPENER = urllib.request.build_opener(NoRedirect, urllib.request.HTTPSHandler(context=CONTEXT))


def send(method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None):
    request = urllib.request.Request(url, body, headers or {}, method=method)
    try:
        with OPENER.open(request, timeout=60) as answer:
            return answer.status, dict(answer.headers.items()), answer.read()
    except urllib.error.HTTPError as answer:
        return answer.code, dict(answer.headers.items()), answer.read()


def call(method: str, path: str, body=None, *, key: str = KEY, raw: bytes | None = None, **headers: str):
    """The status, the headers in lower case, and the body as JSON where it is JSON."""
    headers = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    content = raw if raw is not None else (json.dumps(body).encode() if body is not None else None)
    status, answered, content = send(method, BASE + path, content, {"x-api-key": key, **headers})
    try:
        content = json.loads(content)
    except ValueError:
        content = content.decode(errors="replace")
    return status, {name.lower(): value for name, value in answered.items()}, content


def expect(held: bool, what: str) -> None:
    if not held:
        raise Broken(what)


def data_of(status: int, wanted: int, body) -> dict:
    code = body.get("code") if isinstance(body, dict) else None
    expect(status == wanted, f"answered {status} {code or ''}, not {wanted}")
    return body["data"] if isinstance(body, dict) else {}


STARTED: list[str] = []


def start(path: str, body: dict | None = None, **options) -> str:
    status, _, answer = call("POST", path, body, **options)
    job = data_of(status, 202, answer)["jobId"]
    STARTED.append(job)
    return job


def ended(job: str) -> dict:
    began = time.monotonic()
    while time.monotonic() - began < JOB_TIME:
        status, headers, answer = call("GET", f"/v1/bulk/jobs/{job}")
        found = data_of(status, 200, answer)
        if found["status"] in ("completed", "failed"):
            return found
        time.sleep(min(float(headers.get("retry-after", "1")), 5))
    raise Broken(f"a job has not ended after {JOB_TIME} s")


def completed(job: str) -> dict:
    found = ended(job)
    codes = [error["code"] for error in found["errors"]][:1]
    expect(found["status"] == "completed", f"a job ended as {found['status']} {codes}")
    return found


def fetched(url: str) -> bytes:
    status, _, content = send("GET", url)
    expect(status == 200, f"a signed URL answered {status}")
    return content


def patient(number: int, note: str = "") -> str:
    return json.dumps({"id": f"smoke-{number}", "firstName": "Smoke", "lastName": "Test", "note": note})


def health() -> None:
    status, _, answer = call("GET", "/health", key="")
    expect(status == 200 and answer["status"] == "ok", f"answered {status}")


def wrong_key() -> None:
    status, headers, answer = call("GET", "/v1/bulk/limits", key="clk_test_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
    expect((status, answer["code"]) == (401, "INVALID_KEY"), f"answered {status}")
    expect("www-authenticate" in headers, "a 401 names no scheme")


def limits() -> None:
    status, _, answer = call("GET", "/v1/bulk/limits")
    found = data_of(status, 200, answer)
    expect(found["batch"]["maxRecords"] == 10_000, "the batch limit is another")
    left = found["bulkOperations"]["remaining"]
    expect(left >= OPERATIONS, f"{left} bulk operations are left in this hour, and this story takes {OPERATIONS}")


def inline_with_faults() -> None:
    lines = "\n".join([*(patient(number) for number in range(10)), "{}", "not json"])
    status, _, answer = call("POST", "/v1/bulk/validate", {"resourceType": "Patient", "data": lines})
    validated = data_of(status, 200, answer)
    expect((validated["validRecords"], validated["invalidRecords"]) == (10, 2), "the validation counts otherwise")
    found = completed(start("/v1/bulk/import", {"resourceType": "Patient", "data": lines, "label": "smoke"}))
    expect((found["succeededRecords"], found["failedRecords"]) == (10, 2), "the import counts otherwise")
    expect(found["errors"] == validated["errors"] and found["outcome"] == "partial", "the import finds something else")
    expect(fetched(found["rejectedUrl"]) == b"{}\nnot json\n", "the rejected lines are others")
    expect(len(fetched(found["resultsUrl"]).splitlines()) == 12, "the results have other lines")


def large(media_type: str, number: int) -> Callable[[], None]:
    def story() -> None:
        # 4.4 MB of one record that breaks a rule: nothing of it is stored.
        line = json.dumps({"id": f"smoke-{number}", "firstName": "Smoke", "note": "x" * 1000})
        body = json.dumps({"resourceType": "Patient", "data": "\n".join([line] * 4_150)}).encode()
        expect(4_300_000 < len(body) < 4_500_000, "the body has another size")
        found = completed(start("/v1/bulk/import", raw=body, content_type=media_type))
        expect(found["failedRecords"] == 4_150, "not every line was read")

    return story


def upload() -> None:
    content = gzip.compress((patient(10) + "\n" + patient(11) + "\n").encode())
    status, _, answer = call("POST", "/v1/bulk/uploads", {"bytes": len(content)})
    made = data_of(status, 201, answer)
    status, _, answer = call("POST", "/v1/bulk/import", {"resourceType": "Patient", "uploadId": made["uploadId"]})
    expect((status, answer["code"]) == (422, "VALIDATION_ERROR"), "an upload that nobody has PUT was taken")
    expect(send("PUT", made["uploadUrl"], content + b"\0")[0] == 403, "a PUT of another length was taken")
    expect(send("PUT", made["uploadUrl"], content)[0] == 200, "the PUT was refused")
    found = completed(start("/v1/bulk/import", {"resourceType": "Patient", "uploadId": made["uploadId"]}))
    expect(found["succeededRecords"] == 2, "not every record was stored")


def export() -> None:
    found = completed(start("/v1/bulk/export", {"resourceTypes": ["Patient"]}))
    content = fetched(found["downloadUrl"])
    ids = [json.loads(line)["id"] for line in content.splitlines()]
    mine = {f"smoke-{number}" for number in range(12)}
    expect(mine <= set(ids) and len(ids) == len(set(ids)), "records are missing, or come twice")
    expect(found["files"][0]["sha256"] == hashlib.sha256(content).hexdigest(), "the hash is another")
    time.sleep(1.1)  # signatures count whole seconds
    status, _, answer = call("GET", f"/v1/bulk/jobs/{found['id']}")
    again = data_of(status, 200, answer)
    expect(again["downloadUrl"] != found["downloadUrl"], "the URL is not fresh at every poll")


def since_per_type_gzip() -> None:
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 600))
    asked = {"resourceTypes": ["Patient", "Account"], "since": since, "files": "perType", "compression": "gzip"}
    found = completed(start("/v1/bulk/export", asked))
    file = next(file for file in found["files"] if file["name"] == "Patient.ndjson.gz")
    status, headers, _ = call("GET", file["url"], key=KEY)
    expect(status == 307 and headers["cache-control"] == "no-store", f"the link answered {status}")
    content = fetched(headers["location"])
    expect(hashlib.sha256(content).hexdigest() == file["sha256"], "the hash is another")
    expect(len(gzip.decompress(content).splitlines()) == file["records"] >= 12, "records that changed are missing")
    status, _, sums = call("GET", f"/v1/bulk/jobs/{found['id']}/files/SHA256SUMS")
    expect(status == 200 and f"{file['sha256']}  {file['name']}\n" in sums, "SHA256SUMS does not name the file")


def cancel_and_list() -> None:
    job = start("/v1/bulk/export", {"resourceTypes": ["Patient"], "label": "smoke-cancel"})
    status, _, answer = call("POST", f"/v1/bulk/jobs/{job}/cancel")
    expect(data_of(status, 200, answer)["status"] in ("failed", "completed"), "a cancelled job goes on")
    status, _, answer = call("GET", "/v1/bulk/jobs?count=100")
    listed = {found["id"] for found in data_of(status, 200, answer)["data"]}
    expect(set(STARTED) <= listed or len(listed) == 100, "started jobs are not listed")


def clean_up() -> None:
    for job in STARTED:
        status, _, _ = call("POST", f"/v1/bulk/jobs/{job}/cancel")
        status, _, _ = call("DELETE", f"/v1/bulk/jobs/{job}")
        expect(status == 204, f"deleting a job answered {status}")
        expect(call("GET", f"/v1/bulk/jobs/{job}")[0] == 404, "a deleted job is still there")


def eventually(what: str, patience: float, holds: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not holds():
        expect(time.monotonic() - began < patience, f"{what}, after {patience:.0f} s")
        time.sleep(5)


def since() -> float:
    return min(time.time() - LOOK_BACK, BEGAN)


def resources_of(stack: str) -> list[dict]:
    import boto3

    pages = boto3.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
    return [found for page in pages for found in page["StackResourceSummaries"] if found["ResourceStatus"] != "DELETE_COMPLETE"]


def parameters_of(stack: str) -> dict[str, str]:
    import boto3

    [described] = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    return {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in described.get("Parameters", [])}


def lines_of_api(stack: str) -> list[str]:
    """What the API functions have logged."""
    import boto3

    groups = [found["PhysicalResourceId"] for found in resources_of(stack) if found["LogicalResourceId"] == "ApiLogs"]
    expect(len(groups) == 1, "the stack has no log group of the API functions")
    return [event["message"] for event in log_events(boto3.client("logs"), groups[0], int(since() * 1000))]


def audit_lines_have_arrived(stack: str) -> None:
    def arrived() -> bool:
        lines = lines_of_api(stack)
        expect(not any("Smoke" in line for line in lines), "a value of a record is in the logs")
        return any('"audit":"job.started"' in line for line in lines)

    eventually("no audit line has arrived", LINE_TIME, arrived)


def metric_in_cloudwatch(stack: str) -> float:
    import boto3

    answer = boto3.client("cloudwatch").get_metric_statistics(
        Namespace="ClinikBulk", MetricName="JobsStarted", Dimensions=[{"Name": "Stack", "Value": stack}],
        StartTime=since(), EndTime=time.time() + 60, Period=60, Statistics=["Sum"],
    )
    return sum(point["Sum"] for point in answer["Datapoints"])


def metric_in_lines(stack: str) -> float:
    """The same sum from the lines that CloudWatch would make the metric of."""
    total = 0.0
    for line in lines_of_api(stack):
        if '"JobsStarted"' not in line:
            continue
        values = json.loads(line)
        directives = values.get("_aws", {}).get("CloudWatchMetrics", [])
        if values.get("Stack") == stack and any(
            directive["Namespace"] == "ClinikBulk" and ["Stack"] in directive["Dimensions"]
            and any(metric["Name"] == "JobsStarted" for metric in directive["Metrics"])
            for directive in directives
        ):
            total += values["JobsStarted"]
    return total


def metrics_have_arrived(stack: str) -> None:
    counted = metric_in_lines if IS_LOCAL else metric_in_cloudwatch
    wanted = len(STARTED)
    eventually(f"JobsStarted is not {wanted} yet", METRIC_TIME, lambda: counted(stack) >= max(wanted, 1))


def alarms_are_quiet(stack: str) -> None:
    import boto3

    if parameters_of(stack).get("Alarms") == "false":
        return
    kinds = ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
    names = [found["PhysicalResourceId"] for found in resources_of(stack) if found["ResourceType"] in kinds]
    expect(bool(names), "the stack has no alarms")
    # Composite alarms are told only where they are asked for.
    pages = boto3.client("cloudwatch").get_paginator("describe_alarms").paginate(
        AlarmNames=names, AlarmTypes=["MetricAlarm", "CompositeAlarm"]
    )
    found = [alarm for page in pages for kind in ("MetricAlarms", "CompositeAlarms") for alarm in page.get(kind, [])]
    absent = set(names) - {alarm["AlarmName"] for alarm in found}
    expect(not absent, f"gone: {', '.join(sorted(absent))}")
    ringing = [alarm["AlarmName"] for alarm in found if alarm["StateValue"] == "ALARM"]
    expect(not ringing, f"in alarm: {', '.join(sorted(ringing))}")


def of_operators(stack: str) -> list[tuple[str, Callable[[], None]]]:
    where = "as the log lines say them: the local stack makes none of them" if IS_LOCAL else "in CloudWatch"
    return [
        ("audit lines have arrived, and no value of a record", lambda: audit_lines_have_arrived(stack)),
        (f"metrics have arrived, {where}", lambda: metrics_have_arrived(stack)),
        ("no alarm rings", lambda: alarms_are_quiet(stack)),
    ]


def errors_of_aws(stack: str | None) -> tuple[type[Exception], ...]:
    """What boto3 raises; a story over HTTP alone does without it."""
    if not stack:
        return ()
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError


STORY: list[tuple[str, Callable[[], None]]] = [
    ("health", health),
    ("a wrong key is refused", wrong_key),
    ("limits", limits),
    ("import inline, with faults and reports", inline_with_faults),
    ("import of 4.4 MB as application/json", large("application/json", 12)),
    ("import of 4.4 MB as application/fhir+json", large("application/fhir+json", 12)),
    ("import by upload, of the stated length alone", upload),
    ("export, whole, with a fresh URL at every poll", export),
    ("export since, per type, gzip, by its links", since_per_type_gzip),
    ("cancel and list", cancel_and_list),
    ("delete what this run has started", clean_up),
]


def told(error: Exception) -> str:
    """An error without what it may quote of an answer: its code, or its kind."""
    if isinstance(error, Broken):
        return str(error)
    return getattr(error, "response", {}).get("Error", {}).get("Code") or type(error).__name__


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operator", metavar="STACK", help="also look for metrics, audit lines and alarms of this stack")
    stack = parser.parse_args().operator
    if not BASE or not KEY:
        sys.exit("API_URL and API_KEY are not set: . .local/env has those of the local stack")
    story = STORY + (of_operators(stack) if stack else [])
    broken = 0
    for name, chapter in story:
        try:
            chapter()
            print(f"holds   {name}", flush=True)
        except (Broken, OSError, KeyError, *errors_of_aws(stack)) as error:
            broken += 1
            print(f"BROKEN  {name}: {told(error)}", flush=True)
    print(f"{len(story) - broken} of {len(story)} hold")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
