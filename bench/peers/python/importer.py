"""importer.py <type> <key>…: NDJSON from S3, parsed, tagged, and written as map items."""

import json
import sys
from datetime import datetime, timezone
from decimal import Decimal

from stores import BUCKET, s3, shard_of, table

PARTITION = "python#live"


def main(resource_type: str, *keys: str) -> None:
    files, records = s3(), table()
    for key in keys:
        with records.batch_writer() as batch:
            for line in files.get_object(Bucket=BUCKET, Key=key)["Body"].iter_lines():
                if not line:
                    continue
                record = json.loads(line, parse_float=Decimal)
                record["resourceType"] = resource_type
                stamp = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
                tag = {"system": "https://clinikapi.com/tenant", "code": "python"}
                record["meta"] = {"lastUpdated": stamp, "tag": [tag]}
                batch.put_item(Item={
                    "pk": shard_of(PARTITION, resource_type, record["id"]), "sk": record["id"],
                    "lastUpdated": stamp, "record": record,
                })


main(*sys.argv[1:])
