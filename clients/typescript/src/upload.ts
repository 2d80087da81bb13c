import { ClinikApiError } from './errors.js';
import { type BlobLike, isBlob } from './ndjson.js';
import type { RequestOptions } from './options.js';
import { parseRetryAfter, withRetries } from './retry.js';
import type { Answer, Transport } from './transport.js';
import type { CreatedUpload } from './types.js';

/** The slowest upload that is waited for, in bytes per millisecond. */
const MIN_UPLOAD_RATE = 50;

export function createUpload(
  transport: Transport,
  bytes: number,
  options: RequestOptions | undefined,
): Promise<Answer<CreatedUpload>> {
  return transport.call({ method: 'POST', path: '/v1/bulk/uploads', body: { bytes } }, options);
}

/** Creates an upload for exactly these bytes, and uploads them. */
export async function upload(
  transport: Transport,
  body: Uint8Array | BlobLike,
  options: RequestOptions | undefined,
): Promise<Answer<CreatedUpload>> {
  const size = isBlob(body) ? body.size : body.byteLength;
  // The key of the import that follows must not be used up by the upload.
  const { idempotencyKey: _, ...rest } = options ?? {};
  const created = await createUpload(transport, size, rest);
  const { timeout, retries, signal } = transport.options(rest);
  await withRetries(retries, signal, () =>
    transport.exchange({
      name: 'PUT of the upload',
      url: created.data.uploadUrl,
      // No header of ours: the key must not leave the API's host. The length is signed, so no stream either.
      init: { method: 'PUT', body: body as Blob | Uint8Array<ArrayBuffer> },
      timeout: timeout + size / MIN_UPLOAD_RATE,
      signal,
      read: async (response) => {
        await response.body?.cancel();
        if (!response.ok) throw uploadError(response);
      },
    }),
  );
  return created;
}

function uploadError(response: Response): ClinikApiError {
  return new ClinikApiError({
    status: response.status,
    code: 'UPLOAD_FAILED',
    message: `the upload was answered with ${response.status}; an upload works for one hour and for the bytes asked for`,
    requestId: response.headers.get('x-amz-request-id') ?? undefined,
    retryAfter: parseRetryAfter(response.headers),
  });
}
