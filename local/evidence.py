"""Everything that the running stack holds, for a search: one JSON object a line, {"where": …, "text": …}.

Log lines, alarms, metrics, messages that wait, items of all tables, and files with their contents."""

import json
import os
import sys

import boto3


def show(where: str, text: str) -> None:
    sys.stdout.write(json.dumps({"where": where, "text": text}) + "\n")


def main() -> None:
    logs = boto3.client("logs")
    for group in logs.get_paginator("describe_log_groups").paginate().search("logGroups[].logGroupName"):
        for event in logs.get_paginator("filter_log_events").paginate(logGroupName=group).search("events[]"):
            show(f"log {group}", event["message"])
    cloudwatch = boto3.client("cloudwatch")
    for metric in cloudwatch.get_paginator("list_metrics").paginate().search("Metrics[]"):
        show("metric", json.dumps(metric))
    dynamodb = boto3.client("dynamodb")
    for table in dynamodb.list_tables()["TableNames"]:
        for item in dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True).search("Items[]"):
            show(f"table {table}", json.dumps(item, ensure_ascii=False))
    sqs = boto3.client("sqs")
    for url in sqs.list_queues().get("QueueUrls", []):
        # Received, and left: a message that is looked at comes back at once.
        for _ in range(100):
            received = sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=5, AttributeNames=["All"], MessageAttributeNames=["All"],
            ).get("Messages", [])
            for message in received:
                show(f"queue {url}", json.dumps(message))
            if not received:
                break
    s3 = boto3.client("s3")
    bucket = os.environ["BUCKET"]
    for listed in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket).search("Contents[]"):
        if listed is None:
            continue
        show(f"name {listed['Key']}", listed["Key"])
        content = s3.get_object(Bucket=bucket, Key=listed["Key"])["Body"].read()
        show(f"file {listed['Key']}", content.decode("utf-8", "replace"))


main()
