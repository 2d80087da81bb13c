// A Lambda function in the smallest form that answers: one invocation of a status call, and the end.
import { DynamoDBClient, GetItemCommand } from "@aws-sdk/client-dynamodb";
import { GetObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

const api = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation`;
const endpoint = process.env.AWS_ENDPOINT_URL;
const dynamodb = new DynamoDBClient({ endpoint });
const s3 = new S3Client({ endpoint, forcePathStyle: true });

const next = await fetch(`${api}/next`);
const id = next.headers.get("lambda-runtime-aws-request-id");
const event = await next.json();
const jobId = event.pathParameters.jobId;
const found = await dynamodb.send(
  new GetItemCommand({
    TableName: process.env.JOBS_TABLE,
    Key: { pk: { S: "bench#live" }, sk: { S: jobId } },
  }),
);
const command = new GetObjectCommand({ Bucket: process.env.BUCKET, Key: `exports/${jobId}.ndjson` });
const url = await getSignedUrl(s3, command, { expiresIn: 3600 });
await fetch(`${api}/${id}/response`, {
  method: "POST",
  body: JSON.stringify({ statusCode: 200, body: JSON.stringify({ data: { id: jobId, found: Boolean(found.Item), url } }) }),
});
process.exit(0);
