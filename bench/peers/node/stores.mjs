// What both jobs share: clients, keys, and the environment.
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";
import { S3Client } from "@aws-sdk/client-s3";
import { crc32 } from "node:zlib";

export const { RECORDS_TABLE, BUCKET } = process.env;
const endpoint = process.env.AWS_ENDPOINT_URL;

export const dynamodb = new DynamoDBClient({ endpoint });
export const documents = DynamoDBDocumentClient.from(dynamodb);
export const s3 = new S3Client({
  endpoint,
  forcePathStyle: true,
  requestChecksumCalculation: "WHEN_REQUIRED",
  responseChecksumValidation: "WHEN_REQUIRED",
});

export const SHARDS = 16;
export const shardKey = (partition, type, shard) => `${partition}#${type}#${String(shard).padStart(2, "0")}`;
export const shardOf = (partition, type, id) => shardKey(partition, type, crc32(id) % SHARDS);
