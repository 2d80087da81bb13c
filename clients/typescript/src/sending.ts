import { createHash, randomUUID } from 'node:crypto';
import { ClinikApiError, clientError } from './errors.js';
import { type BlobLike, chunksOfBlob, isBlob } from './ndjson.js';
import type { RequestOptions } from './options.js';
import { isForeign, isTransient, withRetries } from './retry.js';
import { type ImportRequest, type Prepared, prepare, startImport } from './start.js';
import { type Answer, metaOfError, type Transport } from './transport.js';
import type { CreatedUpload, StartedJob } from './types.js';
import { createUpload, putUpload, sizeOf } from './upload.js';

/** How many keys a client remembers the upload of. */
const MAX_REMEMBERED = 1_000;
/** The service knows a key for 24 hours. An hour less, by a clock that goes on while the machine sleeps. */
const KEY_LIFETIME = 23 * 3_600_000;

/**
 * Which upload belongs to a key of the user's and the records that came with it. An upload's id is part of the call's
 * body, and only the same body finds the job of the key again.
 */
export class RememberedUploads {
  readonly #ids = new Map<string, string>();

  get(name: string): string | undefined {
    return this.#ids.get(name);
  }

  set(name: string, uploadId: string): void {
    this.#ids.delete(name);
    this.#ids.set(name, uploadId);
    const [oldest] = this.#ids.keys();
    if (this.#ids.size > MAX_REMEMBERED && oldest !== undefined) this.#ids.delete(oldest);
  }

  delete(name: string): void {
    this.#ids.delete(name);
  }
}

/** What an import is sent with. */
export interface SendingOptions {
  /** The user's key, if there is one. */
  readonly key: string | undefined;
  /** How many uploads may be made in all. */
  readonly maxUploads: number;
  /** Whether an upload that the store refuses is made anew: its URL may have expired. */
  readonly renewRefused: boolean;
}

/**
 * One import on its way to the service. Whatever fails and however often it is tried, it has one key and one upload, so
 * that it becomes one job. Both are chosen anew only when the service has said that nothing was accepted with them.
 */
export class Sending {
  readonly #transport: Transport;
  readonly #remembered: RememberedUploads;
  readonly #records: Prepared;
  readonly #options: SendingOptions;
  #key: string;
  /** Under which name the upload is remembered. */
  #name: string | undefined;
  #uploads = 0;
  /** An upload that was created and holds nothing yet. */
  #created: CreatedUpload | undefined;
  /** The upload that holds the records. */
  #uploadId: string | undefined;
  /** When the first start was sent of which nobody knows what became of it. */
  #unclearSince: number | undefined;

  constructor(transport: Transport, remembered: RememberedUploads, records: Prepared, options: SendingOptions) {
    this.#transport = transport;
    this.#remembered = remembered;
    this.#records = records;
    this.#options = options;
    this.#key = options.key ?? randomUUID();
  }

  /** Goes on where the last try has ended: uploads what is not there, and starts the job, if none has started yet. */
  async proceed(options: RequestOptions | undefined): Promise<Answer<StartedJob>> {
    const { source } = this.#records;
    if ('data' in source) return this.#start({ data: source.data }, options);
    for (;;) {
      const uploadId = await this.#upload(source.bytes, options);
      try {
        return await this.#start({ uploadId }, options);
      } catch (error) {
        const verdict = uploadVerdict(error);
        if (verdict?.jobId !== undefined) return adopted(verdict.jobId, error as ClinikApiError);
        if (verdict === undefined || this.#uploads >= this.#options.maxUploads) throw explained(error);
        this.#renew();
      }
    }
  }

  /** The upload can no longer be used, and never was: neither was its key. */
  #renew(): void {
    if (this.#name !== undefined) this.#remembered.delete(this.#name);
    this.#uploadId = undefined;
    this.#key = this.#options.key ?? randomUUID();
  }

  #start(source: { data: string } | { uploadId: string }, options: RequestOptions | undefined) {
    const { resourceType, label, unknown } = this.#records;
    const { retries, signal } = this.#transport.options(options);
    return withRetries(retries, signal, async () => {
      const began = Date.now();
      // What became of an upload the service can say at any time; of a key only while it knows it.
      if ('data' in source && this.#unclearSince !== undefined && began - this.#unclearSince > KEY_LIFETIME) {
        throw clientError('IDEMPOTENCY_EXPIRED', `no answer came for a day: it may have started a job; ${HOW_TO_FIND}`);
      }
      try {
        const body = { resourceType, label, unknown, ...source };
        return await startImport(this.#transport, body, { ...options, retries: 0, idempotencyKey: this.#key });
      } catch (error) {
        const isRefused = error instanceof ClinikApiError && error.status === 429;
        if (!isRefused && (isTransient(error) || isForeign(error))) this.#unclearSince ??= began;
        throw error;
      }
    });
  }

  async #upload(bytes: Uint8Array | BlobLike, options: RequestOptions | undefined): Promise<string> {
    if (this.#uploads === 0 && this.#options.key !== undefined) {
      this.#name ??= await nameOf(this.#options.key, this.#records, bytes);
      this.#uploadId ??= this.#remembered.get(this.#name);
      if (this.#uploadId !== undefined) this.#uploads++;
    }
    while (this.#uploadId === undefined) {
      if (this.#created === undefined) {
        this.#created = (await createUpload(this.#transport, sizeOf(bytes), options)).data;
        this.#uploads++;
      }
      try {
        await putUpload(this.#transport, this.#created, bytes, options);
        this.#uploadId = this.#created.uploadId;
      } catch (error) {
        if (!isRefusedByStore(error)) throw error;
        this.#created = undefined;
        if (!this.#options.renewRefused || this.#uploads >= this.#options.maxUploads) throw error;
        continue;
      }
      this.#created = undefined;
      if (this.#name !== undefined) this.#remembered.set(this.#name, this.#uploadId);
    }
    return this.#uploadId;
  }
}

/** The import of one call. */
export async function importOnce(
  transport: Transport,
  remembered: RememberedUploads,
  request: ImportRequest,
  options: RequestOptions | undefined,
): Promise<Answer<StartedJob>> {
  if ('uploadId' in request) {
    const { resourceType, label, uploadId, ...unknown } = request;
    return startImport(transport, { resourceType, label, unknown, uploadId }, options);
  }
  const { signal, idempotencyKey: key } = transport.options(options);
  const records = await prepare(request, signal);
  return new Sending(transport, remembered, records, { key, ...OF_A_CALL }).proceed(options);
}

/** A call has a second upload where the first one, which may be one that is remembered, has expired. */
const OF_A_CALL = { maxUploads: 2, renewRefused: false };

const HOW_TO_FIND =
  'find it with bulk.listJobs, by its label and time, before you send the records again under another key';

/** What the service says about an upload: which job has used it, or that none ever will; `undefined` is no proof. */
function uploadVerdict(error: unknown): { jobId?: string } | undefined {
  if (!(error instanceof ClinikApiError) || error.status !== 422 || error.issues?.length !== 1) return undefined;
  const text = error.issues[0]?.diagnostics ?? '';
  if (text === 'uploadId: Expired') return {};
  const jobId = /^uploadId: Used by (job_[A-Za-z0-9]{1,64})$/.exec(text)?.[1];
  return jobId === undefined ? undefined : { jobId };
}

function adopted(jobId: string, error: ClinikApiError): Answer<StartedJob> {
  const data = { jobId, status: 'pending', message: 'Import job started before' } as const;
  return { data, meta: metaOfError(error, 202), retryAfter: undefined };
}

function explained(error: unknown): unknown {
  if (!(error instanceof ClinikApiError) || error.code !== 'IDEMPOTENCY_CONFLICT') return error;
  const { status, code, issues, requestId } = error;
  const message =
    `idempotencyKey: it has started a job already, of other records, or of an upload that this client does not know; ` +
    HOW_TO_FIND;
  return new ClinikApiError({ status, code, message, issues, requestId });
}

function isRefusedByStore(error: unknown): boolean {
  return error instanceof ClinikApiError && error.code === 'UPLOAD_FAILED' && error.status === 403;
}

async function nameOf(key: string, records: Prepared, bytes: Uint8Array | BlobLike): Promise<string> {
  const hash = createHash('sha256').update(
    JSON.stringify([key, records.resourceType, records.label ?? '', records.unknown]),
  );
  if (!isBlob(bytes)) hash.update(bytes);
  else for await (const chunk of chunksOfBlob(bytes)) hash.update(chunk);
  return hash.digest('hex');
}
