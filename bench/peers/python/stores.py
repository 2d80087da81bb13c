"""What both jobs share: clients, keys, and the environment."""

import os
import zlib

import boto3
from botocore.config import Config

RECORDS_TABLE, BUCKET = os.environ["RECORDS_TABLE"], os.environ["BUCKET"]
SHARDS = 16
CONFIG = Config(
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    s3={"addressing_style": "path"},
)


def table():
    return boto3.resource("dynamodb", config=CONFIG).Table(RECORDS_TABLE)


def s3():
    return boto3.client("s3", config=CONFIG)


def shard_key(partition: str, resource_type: str, shard: int) -> str:
    return f"{partition}#{resource_type}#{shard:02}"


def shard_of(partition: str, resource_type: str, record_id: str) -> str:
    return shard_key(partition, resource_type, zlib.crc32(record_id.encode()) % SHARDS)
