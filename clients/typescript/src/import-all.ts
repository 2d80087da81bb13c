import { ClinikRateLimitError, refusal } from './errors.js';
import { waitForJob } from './jobs.js';
import { type ImportData, isBlob, isGzip, MAX_BYTES, MAX_RECORDS, readLines } from './ndjson.js';
import type { RequestOptions } from './options.js';
import { startImport } from './start.js';
import { now, sleep } from './time.js';
import type { Answer, Transport } from './transport.js';
import type { Job, ResourceType, StartedJob } from './types.js';

/** What to import, of any size. */
export interface ImportAllRequest {
  /** The type of all records. */
  resourceType: ResourceType;
  /** Any number of records. They are read as they are needed: a file's `Blob` or a generator fills no memory. */
  records: ImportData;
  /** Called when a batch waits for a bulk operation, when its job has started, and when its job has ended. */
  onBatch?: (batch: ImportBatch) => void;
  /**
   * Whether to wait when the bulk operations of the hour are used up, up to an hour for each batch; `onBatch` says for
   * how long. Otherwise the iteration ends with a `ClinikRateLimitError`. Default: true.
   */
  waitForSlot?: boolean;
  /** Given back with every job: up to 64 of `A-Za-z0-9 ._:-`. Not for patients' data. */
  label?: string;
}

/** How far a batch of `importAll` is. */
export interface ImportBatch {
  status: 'waiting' | 'started' | 'ended';
  /** The batch, from 0. */
  index: number;
  /** Its first record among all, from 0; add an error's `index` to find the record. Go on from here after a failure. */
  firstRecord: number;
  records: number;
  /** Of NDJSON, before it is compressed for an upload. */
  bytes: number;
  /** While `waiting`: seconds until it is tried again. */
  waitSeconds?: number;
  /** Once `started`. */
  jobId?: string;
  /** Once `ended`. */
  job?: Job;
}

/** Imports any number of records, batch after batch; yields every job once it has ended. */
export async function* importAll(
  transport: Transport,
  request: ImportAllRequest,
  options: RequestOptions | undefined,
): AsyncGenerator<Job, void, undefined> {
  const { records, onBatch } = request;
  const { signal } = transport.options(options);
  if (isBlob(records) && (await isGzip(records))) {
    throw refusal('INVALID_RECORD', 'records: expected NDJSON; this is gzip, decompress it first');
  }
  const slots = new Slots(transport, request, options);
  for await (const { lines, ...batch } of cut(records, signal)) {
    const { data } = await slots.start(lines, batch);
    onBatch?.({ ...batch, status: 'started', jobId: data.jobId });
    const wait = signal === undefined ? {} : { signal };
    const { data: job } = await waitForJob(transport, data.jobId, wait, pollOptions(options));
    onBatch?.({ ...batch, status: 'ended', jobId: data.jobId, job });
    yield job;
  }
}

type Position = Pick<ImportBatch, 'index' | 'firstRecord' | 'records' | 'bytes'>;

/** Starts imports, and knows when the next one is allowed. */
class Slots {
  readonly #transport: Transport;
  readonly #request: ImportAllRequest;
  readonly #options: RequestOptions | undefined;
  /** When the next bulk operation is available, by the clock of `now`. */
  #next = 0;

  constructor(transport: Transport, request: ImportAllRequest, options: RequestOptions | undefined) {
    this.#transport = transport;
    this.#request = request;
    this.#options = options;
  }

  async start(lines: Uint8Array[], batch: Position): Promise<Answer<StartedJob>> {
    const { resourceType, label, waitForSlot = true } = this.#request;
    const data = new Blob(lines as Uint8Array<ArrayBuffer>[]);
    for (;;) {
      // Before the upload, which would expire during the wait.
      if (waitForSlot) await this.#wait(batch);
      try {
        const answer = await startImport(
          this.#transport,
          { resourceType, data, ...(label !== undefined && { label }) },
          this.#optionsOf(batch),
        );
        const { rateLimitRemaining, rateLimitReset } = answer.meta;
        if (rateLimitRemaining === 0 && rateLimitReset !== undefined) this.#next = now() + rateLimitReset * 1000;
        return answer;
      } catch (error) {
        const isLimit = error instanceof ClinikRateLimitError && error.code === 'RATE_LIMITED';
        if (!waitForSlot || !isLimit || error.retryAfter === undefined) throw error;
        this.#next = now() + Math.max(1, error.retryAfter) * 1000;
      }
    }
  }

  async #wait(batch: Position): Promise<void> {
    const left = this.#next - now();
    if (left <= 0) return;
    this.#request.onBatch?.({ ...batch, status: 'waiting', waitSeconds: Math.ceil(left / 1000) });
    await sleep(left, this.#options?.signal);
  }

  #optionsOf(batch: Position): RequestOptions {
    const { idempotencyKey, ...rest } = this.#options ?? {};
    return idempotencyKey === undefined ? rest : { ...rest, idempotencyKey: `${idempotencyKey}-${batch.index}` };
  }
}

/** Cuts records into batches of 10,000 records and 104,857,600 bytes at most. */
async function* cut(
  records: ImportData,
  signal: AbortSignal | undefined,
): AsyncGenerator<Position & { lines: Uint8Array[] }, void, undefined> {
  const lineEnd = Uint8Array.of(0x0a);
  let lines: Uint8Array[] = [];
  let batch: Position = { index: 0, firstRecord: 0, records: 0, bytes: 0 };
  for await (const line of readLines(records)) {
    signal?.throwIfAborted();
    const bytes = line.byteLength + 1;
    if (bytes > MAX_BYTES) {
      throw refusal('BATCH_TOO_LARGE', `record ${batch.firstRecord + batch.records}: it is larger than a batch may be`);
    }
    if (batch.records === MAX_RECORDS || batch.bytes + bytes > MAX_BYTES) {
      yield { ...batch, lines };
      batch = { index: batch.index + 1, firstRecord: batch.firstRecord + batch.records, records: 0, bytes: 0 };
      lines = [];
    }
    lines.push(line, lineEnd);
    batch = { ...batch, records: batch.records + 1, bytes: batch.bytes + bytes };
  }
  if (batch.records > 0) yield { ...batch, lines };
}

function pollOptions(options: RequestOptions | undefined): RequestOptions {
  const { idempotencyKey: _, ...rest } = options ?? {};
  return rest;
}
