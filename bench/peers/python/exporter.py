"""exporter.py maps|lines <partition> <type> <key>: all records of a type to one NDJSON file, from map items
or from the lines that the service stores."""

import json
import sys
from decimal import Decimal

from stores import BUCKET, SHARDS, s3, shard_key, table

PART = 8 << 20


def plain(value):
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError


def lines(form: str, partition: str, resource_type: str):
    records = table()
    for shard in range(SHARDS):
        query = {
            "KeyConditionExpression": "pk = :pk", "ConsistentRead": True,
            "ExpressionAttributeValues": {":pk": shard_key(partition, resource_type, shard)},
        }
        if form == "lines":
            query["ProjectionExpression"] = "sk, t, b"
        while True:
            page = records.query(**query)
            for item in page["Items"]:
                line = bytes(item["b"]) if form == "lines" else json.dumps(item["record"], default=plain).encode()
                yield line + b"\n"
            if "LastEvaluatedKey" not in page:
                break
            query["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def main(form: str, partition: str, resource_type: str, key: str) -> None:
    files = s3()
    name = {"Bucket": BUCKET, "Key": key}
    upload = {**name, "UploadId": files.create_multipart_upload(**name)["UploadId"]}
    parts, buffer = [], bytearray()

    def flush():
        number = len(parts) + 1
        tag = files.upload_part(**upload, PartNumber=number, Body=bytes(buffer))["ETag"]
        parts.append({"PartNumber": number, "ETag": tag})
        buffer.clear()

    for line in lines(form, partition, resource_type):
        buffer += line
        if len(buffer) >= PART:
            flush()
    if buffer or not parts:
        flush()
    files.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})


main(*sys.argv[1:])
