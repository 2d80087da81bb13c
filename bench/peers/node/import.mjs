// import.mjs <type> <key>…: NDJSON from S3, parsed, tagged, and written as map items.
import { GetObjectCommand } from "@aws-sdk/client-s3";
import { BatchWriteCommand } from "@aws-sdk/lib-dynamodb";
import { createInterface } from "node:readline";
import { BUCKET, RECORDS_TABLE, documents, s3, shardOf } from "./stores.mjs";

const PARTITION = "node#live";
const IN_FLIGHT = 32;
const [type, ...keys] = process.argv.slice(2);

async function write(records) {
  let requests = records.map((record) => ({
    PutRequest: {
      Item: {
        pk: shardOf(PARTITION, type, record.id),
        sk: record.id,
        lastUpdated: record.meta.lastUpdated,
        record,
      },
    },
  }));
  while (requests?.length) {
    const answer = await documents.send(new BatchWriteCommand({ RequestItems: { [RECORDS_TABLE]: requests } }));
    requests = answer.UnprocessedItems?.[RECORDS_TABLE];
    if (requests?.length) await new Promise((resume) => setTimeout(resume, 50));
  }
}

for (const key of keys) {
  const { Body } = await s3.send(new GetObjectCommand({ Bucket: BUCKET, Key: key }));
  const underWay = new Set();
  const start = async (records) => {
    const writing = write(records).finally(() => underWay.delete(writing));
    underWay.add(writing);
    if (underWay.size >= IN_FLIGHT) await Promise.race(underWay);
  };
  let batch = [];
  for await (const line of createInterface({ input: Body, crlfDelay: Infinity })) {
    if (!line) continue;
    const record = JSON.parse(line);
    record.resourceType = type;
    record.meta = {
      lastUpdated: new Date().toISOString(),
      tag: [{ system: "https://clinikapi.com/tenant", code: "node" }],
    };
    batch.push(record);
    if (batch.length === 25) {
      await start(batch);
      batch = [];
    }
  }
  if (batch.length) await start(batch);
  await Promise.all(underWay);
}
