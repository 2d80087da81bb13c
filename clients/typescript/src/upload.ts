import { notTheApi } from './answer.js';
import { ClinikApiError } from './errors.js';
import { type BlobLike, isBlob } from './ndjson.js';
import type { RequestOptions } from './options.js';
import { parseRetryAfter, withRetries } from './retry.js';
import { isUpload } from './shapes.js';
import type { Answer, Transport } from './transport.js';
import type { CreatedUpload } from './types.js';

/** The slowest upload that is waited for, in bytes per millisecond. */
const MIN_UPLOAD_RATE = 50;
/** How much of a store's error is read, in bytes: its code stands at the beginning. */
const MAX_STORE_ERROR = 4_096;
const NAME = 'PUT of the upload';

export function createUpload(
  transport: Transport,
  bytes: number,
  options: RequestOptions | undefined,
): Promise<Answer<CreatedUpload>> {
  // A key of the user's belongs to the import that follows.
  const { idempotencyKey: _, ...rest } = options ?? {};
  return transport.call({ method: 'POST', path: '/v1/bulk/uploads', body: { bytes }, expected: isUpload }, rest);
}

/** Creates an upload for exactly these bytes, and uploads them. */
export async function upload(
  transport: Transport,
  body: Uint8Array | BlobLike,
  options: RequestOptions | undefined,
): Promise<Answer<CreatedUpload>> {
  const created = await createUpload(transport, sizeOf(body), options);
  await putUpload(transport, created.data, body, options);
  return created;
}

/** Uploads the bytes to where the upload has its place. To do it again does no harm. */
export async function putUpload(
  transport: Transport,
  { uploadUrl }: CreatedUpload,
  body: Uint8Array | BlobLike,
  options: RequestOptions | undefined,
): Promise<void> {
  const url = transport.checkLink(NAME, uploadUrl);
  const { timeout, retries, signal } = transport.options(options);
  await withRetries(retries, signal, () =>
    transport.exchange({
      name: NAME,
      url,
      // No header of ours: the key must not leave the API's host. The length is signed, so no stream either.
      init: { method: 'PUT', body: body as Blob | Uint8Array<ArrayBuffer> },
      timeout: timeout + sizeOf(body) / MIN_UPLOAD_RATE,
      signal,
      read: async (response) => {
        if (!response.ok) throw await uploadError(response);
        await response.body?.cancel();
        // The store names the content of what it keeps; a proxy's page keeps nothing.
        if (response.status !== 200 || !response.headers.has('etag')) throw notTheApi(NAME, response.status);
      },
    }),
  );
}

export function sizeOf(body: Uint8Array | BlobLike): number {
  return isBlob(body) ? body.size : body.byteLength;
}

async function uploadError(response: Response): Promise<ClinikApiError> {
  const { status } = response;
  const code = await storeCode(response);
  const reason = code === undefined ? '' : ` (${code})`;
  return new ClinikApiError({
    status,
    code: 'UPLOAD_FAILED',
    message: `the upload was answered with ${status}${reason}; an upload works for one hour and for the bytes asked for`,
    requestId: response.headers.get('x-amz-request-id') ?? undefined,
    retryAfter: parseRetryAfter(response.headers),
  });
}

/** The store's own code. Nothing else of its answer is shown: it may repeat the URL, which is a secret. */
async function storeCode(response: Response): Promise<string | undefined> {
  let text = '';
  for await (const chunk of response.body ?? []) {
    text += Buffer.from(chunk).toString('latin1', 0, MAX_STORE_ERROR - text.length);
    if (text.length >= MAX_STORE_ERROR) break;
  }
  return /<Code>([A-Za-z0-9]{1,64})<\/Code>/.exec(text)?.[1];
}
