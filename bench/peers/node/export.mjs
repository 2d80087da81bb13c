// export.mjs maps|lines <partition> <type> <key>: all records of a type to one NDJSON file, from map items
// or from the lines that the service stores.
import { QueryCommand } from "@aws-sdk/client-dynamodb";
import { Upload } from "@aws-sdk/lib-storage";
import { unmarshall } from "@aws-sdk/util-dynamodb";
import { Readable } from "node:stream";
import { BUCKET, RECORDS_TABLE, SHARDS, dynamodb, s3, shardKey } from "./stores.mjs";

const [form, partition, type, key] = process.argv.slice(2);

async function* lines() {
  for (let shard = 0; shard < SHARDS; shard++) {
    let from;
    do {
      const page = await dynamodb.send(
        new QueryCommand({
          TableName: RECORDS_TABLE,
          KeyConditionExpression: "pk = :pk",
          ExpressionAttributeValues: { ":pk": { S: shardKey(partition, type, shard) } },
          ConsistentRead: true,
          ExclusiveStartKey: from,
          ...(form === "lines" && { ProjectionExpression: "sk, t, b" }),
        }),
      );
      let chunk = "";
      for (const item of page.Items) {
        chunk += (form === "lines" ? Buffer.from(item.b.B).toString() : JSON.stringify(unmarshall(item).record)) + "\n";
      }
      if (chunk) yield Buffer.from(chunk);
      from = page.LastEvaluatedKey;
    } while (from);
  }
}

const upload = new Upload({
  client: s3,
  params: { Bucket: BUCKET, Key: key, Body: Readable.from(lines()), ContentType: "application/x-ndjson" },
  partSize: 8 << 20,
  queueSize: 2,
});
await upload.done();
