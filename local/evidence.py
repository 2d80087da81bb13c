"""Everything that the running stack holds, for a search: one JSON object a line, {"where": …, "text": …}.

    evidence.py [logs] [metrics] [tables] [queues] [files]      all of them, unless some are named
"""

import json
import os
import sys
import zlib

import boto3
from log_events import log_events


def show(where: str, text: str) -> None:
    sys.stdout.write(json.dumps({"where": where, "text": text}) + "\n")


def logs() -> None:
    client = boto3.client("logs")
    for group in client.get_paginator("describe_log_groups").paginate().search("logGroups[].logGroupName"):
        for event in log_events(client, group):
            show(f"log {group}", event["message"])


def metrics() -> None:
    for metric in boto3.client("cloudwatch").get_paginator("list_metrics").paginate().search("Metrics[]"):
        show("metric", json.dumps(metric))


def tables() -> None:
    client = boto3.client("dynamodb")
    for table in client.list_tables()["TableNames"]:
        for item in client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True).search("Items[]"):
            show(f"table {table}", json.dumps(item, ensure_ascii=False, default=text_of))


def text_of(value: bytes) -> str:
    """A binary attribute: a packed line is its length and raw deflate, and is searched as text."""
    try:
        return zlib.decompress(value[4:], wbits=-15).decode("utf-8", "replace")
    except zlib.error:
        return value.decode("utf-8", "replace")


def queues() -> None:
    client = boto3.client("sqs")
    for url in client.list_queues().get("QueueUrls", []):
        # Received, and left: a message that is looked at comes back at once.
        for _ in range(100):
            received = client.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=5, AttributeNames=["All"], MessageAttributeNames=["All"],
            ).get("Messages", [])
            for message in received:
                show(f"queue {url}", json.dumps(message))
            if not received:
                break


def files() -> None:
    client = boto3.client("s3")
    bucket = os.environ["BUCKET"]
    for listed in client.get_paginator("list_objects_v2").paginate(Bucket=bucket).search("Contents[]"):
        if listed is None:
            continue
        show(f"name {listed['Key']}", listed["Key"])
        content = client.get_object(Bucket=bucket, Key=listed["Key"])["Body"].read()
        show(f"file {listed['Key']}", content.decode("utf-8", "replace"))


KINDS = {kind.__name__: kind for kind in (logs, metrics, tables, queues, files)}

for name in sys.argv[1:] or KINDS:
    KINDS[name]()
