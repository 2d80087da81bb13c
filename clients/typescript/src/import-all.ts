import { ClinikRateLimitError, clientError, refusal } from './errors.js';
import { waitForJob } from './jobs.js';
import { type ImportData, isBlob, isGzip, MAX_BYTES, MAX_RECORDS, readLines } from './ndjson.js';
import type { RequestOptions } from './options.js';
import { isForeign, isTransient, MAX_RETRY_AFTER, type Patience, patiently, waitOf } from './retry.js';
import { type RememberedUploads, Sending } from './sending.js';
import { prepare } from './start.js';
import { now, sleep, unlessAborted } from './time.js';
import type { Answer, Transport } from './transport.js';
import type { Job, ResourceType, StartedJob } from './types.js';

/** What to import, of any size. */
export interface ImportAllRequest {
  /** The type of all records. */
  resourceType: ResourceType;
  /** Any number of records. They are read as they are needed: a file's `Blob` or a generator fills no memory. */
  records: ImportData;
  /**
   * Called when the start of a batch waits, for a bulk operation or for a service that is away, when its job has
   * started, and when its job has ended. What it throws ends the import; a promise is
   * waited for.
   */
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
  /** While `waiting`: seconds until it is tried again, an hour at most. */
  waitSeconds?: number;
  /** Once `started`. */
  jobId?: string;
  /** Once `ended`. */
  job?: Job;
}

/** Imports any number of records, batch after batch; yields every job once it has ended. */
export async function* importAll(
  transport: Transport,
  remembered: RememberedUploads,
  request: ImportAllRequest,
  options: RequestOptions | undefined,
): AsyncGenerator<Job, void, undefined> {
  const { records, onBatch } = request;
  const { signal } = transport.options(options);
  if (isBlob(records) && (await unlessAborted(signal, () => isGzip(records)))) {
    throw refusal('INVALID_RECORD', 'records: expected NDJSON; this is gzip, decompress it first');
  }
  const slots = new Slots(transport, remembered, request, options);
  for await (const { lines, ...batch } of cut(records, signal)) {
    const { data } = await slots.start(lines, batch);
    await onBatch?.({ ...batch, status: 'started', jobId: data.jobId });
    const wait = signal === undefined ? {} : { signal };
    const { data: job } = await waitForJob(transport, data.jobId, wait, options, 'import');
    checkCount(job, batch);
    await onBatch?.({ ...batch, status: 'ended', jobId: data.jobId, job });
    yield job;
  }
}

type Position = Pick<ImportBatch, 'index' | 'firstRecord' | 'records' | 'bytes'>;

/** What was sent has to be what the job has read, and all of that stored or rejected. */
function checkCount(job: Job, { index, records }: Position): void {
  if (job.status !== 'completed') return;
  const { totalRecords: read, succeededRecords: stored, failedRecords: rejected } = job;
  if (read === records && (stored ?? Number.NaN) + (rejected ?? Number.NaN) === records) return;
  throw clientError(
    'COUNT_MISMATCH',
    `${job.id}: of the ${records} records of batch ${index} it has read ${read}, stored ${stored} and rejected ${rejected}`,
  );
}

/** How many answers may come from somebody else where the API has never answered. */
const MAX_STRANGERS = 3;

/** Starts imports, and knows when the next one is allowed. */
class Slots {
  readonly #transport: Transport;
  readonly #remembered: RememberedUploads;
  readonly #request: ImportAllRequest;
  readonly #options: RequestOptions | undefined;
  /** When the next bulk operation is available, by the clock of `now`. */
  #next = 0;
  /** Answers that were not the API's. */
  #strangers = 0;

  constructor(
    transport: Transport,
    remembered: RememberedUploads,
    request: ImportAllRequest,
    options: RequestOptions | undefined,
  ) {
    this.#transport = transport;
    this.#remembered = remembered;
    this.#request = request;
    this.#options = options;
  }

  /** Starts the batch's job: one, whatever happens on the way. */
  async start(lines: Uint8Array[], batch: Position): Promise<Answer<StartedJob>> {
    const { resourceType, label } = this.#request;
    const data = new Blob(lines as Uint8Array<ArrayBuffer>[]);
    const { idempotencyKey, signal } = this.#transport.options(this.#options);
    const records = await prepare({ resourceType, data, ...(label !== undefined && { label }) }, signal);
    const key = idempotencyKey === undefined ? undefined : `${idempotencyKey}-${batch.index}`;
    const sending = new Sending(this.#transport, this.#remembered, records, { key, ...OF_A_BATCH });
    const patience: Patience = {
      signal,
      isOutage: (error) => this.#isOutage(error),
      onPause: (milliseconds) => this.#tell(batch, milliseconds),
    };
    for (;;) {
      // Before the upload, which may expire during the wait.
      await this.#wait(batch, signal);
      const result = await patiently(patience, () => this.#attempt(sending));
      if ('answer' in result) return result.answer;
      this.#next = now() + waitOf(Math.max(1, result.waitSeconds));
    }
  }

  /** One try, of which a used-up hour is a result. Nothing of the user's runs in it, whose errors could be mistaken. */
  async #attempt(sending: Sending): Promise<{ answer: Answer<StartedJob> } | { waitSeconds: number }> {
    try {
      const answer = await sending.proceed({ ...this.#options, retries: 0 });
      const { rateLimitRemaining, rateLimitReset } = answer.meta;
      if (rateLimitRemaining === 0 && rateLimitReset !== undefined) this.#next = now() + waitOf(rateLimitReset);
      return { answer };
    } catch (error) {
      const isLimit = error instanceof ClinikRateLimitError && error.code === 'RATE_LIMITED';
      if (!this.#waits || !isLimit || error.retryAfter === undefined) throw error;
      return { waitSeconds: error.retryAfter };
    }
  }

  get #waits(): boolean {
    return this.#request.waitForSlot ?? true;
  }

  #isOutage(error: unknown): boolean {
    // Where the API has never answered, what answers in its place again and again means a wrong address.
    if (isForeign(error)) return this.#transport.hasAnswered || ++this.#strangers < MAX_STRANGERS;
    // Without waiting for a slot only the limit of the minute is waited for.
    const isLimit = error instanceof ClinikRateLimitError && (error.retryAfter ?? 0) > MAX_RETRY_AFTER;
    return isTransient(error) && !isLimit;
  }

  async #wait(batch: Position, signal: AbortSignal | undefined): Promise<void> {
    const left = this.#next - now();
    if (!this.#waits || left <= 0) return;
    await this.#tell(batch, left);
    await sleep(left, signal);
  }

  async #tell(batch: Position, milliseconds: number): Promise<void> {
    const waitSeconds = Math.ceil(milliseconds / 1000);
    await this.#request.onBatch?.({ ...batch, status: 'waiting', waitSeconds });
  }
}

/** A batch has three uploads: one that it needs, and two for those that expire or are refused. */
const OF_A_BATCH = { maxUploads: 3, renewRefused: true };

/** Cuts records into batches of 10,000 records and 104,857,600 bytes at most. */
async function* cut(
  records: ImportData,
  signal: AbortSignal | undefined,
): AsyncGenerator<Position & { lines: Uint8Array[] }, void, undefined> {
  const lineEnd = Uint8Array.of(0x0a);
  let lines: Uint8Array[] = [];
  let batch: Position = { index: 0, firstRecord: 0, records: 0, bytes: 0 };
  for await (const line of readLines(records, signal)) {
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
