import { type Batch, countRecords, cut, type DuplicateRecord } from './batches.js';
import { ClinikRateLimitError, clientError, refusal } from './errors.js';
import { waitForJob } from './jobs.js';
import { checkData, type ImportData, isBlob, isGzip } from './ndjson.js';
import type { RequestOptions } from './options.js';
import type { ImportableRecord } from './records.js';
import { isForeign, isTransient, MAX_RETRY_AFTER, type Patience, patiently, waitOf } from './retry.js';
import { SeenIds } from './seen-ids.js';
import { type RememberedUploads, Sending } from './sending.js';
import { prepare } from './start.js';
import { now, sleep, unlessAborted } from './time.js';
import type { Answer, Transport } from './transport.js';
import type { Job, JobStatus, ResourceType, StartedJob } from './types.js';

/** What to import, of any size. */
export interface ImportAllRequest<T extends ResourceType = ResourceType> {
  /** The type of all records. */
  resourceType: T;
  /**
   * Any number of records: objects, NDJSON text, or a file of NDJSON, `await fs.openAsBlob(path)`. They are read as they
   * are needed: a file or a generator fills no memory.
   */
  records: ImportData<ImportableRecord<T>>;
  /**
   * Called when the start of a batch waits, for a bulk operation or for a service that is away, when its job has
   * started, and when its job has ended. What it throws ends the import; a promise is
   * waited for.
   */
  onBatch?: (batch: ImportBatch) => void;
  /**
   * Called at every poll of a job, with how far its batch and the whole are. Where the records are text or a `Blob`, they
   * are counted first. What it throws ends the import; a promise is waited for.
   */
  onProgress?: (progress: ImportProgress) => void;
  /**
   * What becomes of a record whose `id` an earlier record of this import has. `first`: the first record counts, even if
   * it is rejected; later ones are not sent, and told of. `last`: all are sent; a later batch replaces what an earlier
   * one has stored, and within a batch the service rejects the later one. Default: `first`.
   */
  duplicates?: 'first' | 'last';
  /**
   * Called for every record that was not sent, since an earlier one has its `id`. What it throws ends the import; a
   * promise is waited for.
   */
  onDuplicate?: (duplicate: DuplicateRecord) => void;
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
  /** Its first record among all, from 0. Go on from here after a failure. */
  firstRecord: number;
  /** Records that are sent. */
  records: number;
  /** Of NDJSON, before it is compressed for an upload. */
  bytes: number;
  /** Records between or behind its own that are not sent, since an earlier record has their `id`. */
  duplicateRecords: number;
  /** The first 100 of them; `onDuplicate` is told of all. */
  duplicates: DuplicateRecord[];
  /** The number of a record among all, from 1, by its `line` in the batch, as errors of the job tell it. */
  recordNumber: (line: number) => number;
  /** While `waiting`: seconds until it is tried again, an hour at most. */
  waitSeconds?: number;
  /** Once `started`. */
  jobId?: string;
  /** Once `ended`. */
  job?: Job;
}

/** How far `importAll` is. */
export interface ImportProgress {
  /** The batch that runs, from 0. */
  index: number;
  jobId: string;
  /** Of the batch's job. */
  status: JobStatus;
  /** Records of the batch that are stored or rejected, of all that it has. */
  batch: { processedRecords: number; totalRecords: number };
  /**
   * Records of the whole that are stored, rejected or left out as duplicates, of all that there are. How many there are
   * is not known of a generator or stream.
   */
  all: { processedRecords: number; totalRecords?: number };
}

/** A job of `importAll` that has ended, and which records were left out of its batch. */
export interface ImportedJob extends Job {
  /** Records between or behind those of the batch that were not sent, since an earlier record has their `id`. */
  duplicateRecords: number;
  /** The first 100 of them; `onDuplicate` is told of all. */
  duplicates: DuplicateRecord[];
}

/** Imports any number of records, batch after batch; yields every job once it has ended. */
export async function* importAll(
  transport: Transport,
  remembered: RememberedUploads,
  request: ImportAllRequest,
  options: RequestOptions | undefined,
): AsyncGenerator<ImportedJob, void, undefined> {
  const { resourceType, records, duplicates = 'first', onDuplicate, onBatch, onProgress } = request;
  const { signal } = transport.options(options);
  checkData('records', records);
  if (duplicates !== 'first' && duplicates !== 'last') throw new TypeError("duplicates: expected 'first' or 'last'");
  if (isBlob(records) && (await unlessAborted(signal, () => isGzip(records)))) {
    throw refusal('INVALID_RECORD', 'records: expected NDJSON; this is gzip, decompress it first');
  }
  const total = onProgress && (await countRecords(records, signal));
  const slots = new Slots(transport, remembered, request, options);
  const seen = duplicates === 'first' ? new SeenIds() : undefined;
  for await (const batch of cut(records, { resourceType, seen, onDuplicate, signal })) {
    const told = tellable(batch);
    const { data } = await slots.start(batch.lines, told);
    const { jobId } = data;
    await onBatch?.({ ...told, status: 'started', jobId });
    const wait = {
      ...(signal !== undefined && { signal }),
      ...(onProgress !== undefined && { onProgress: (job: Job) => onProgress(progressOf(job, batch, total)) }),
    };
    const { data: job } = await waitForJob(transport, jobId, wait, options, 'import');
    checkCount(job, batch);
    await onBatch?.({ ...told, status: 'ended', jobId, job });
    yield { ...job, duplicateRecords: batch.duplicateRecords, duplicates: batch.duplicates };
  }
}

type Told = Omit<ImportBatch, 'status'>;

function tellable({ lines: _, numbers, ...batch }: Batch): Told {
  const recordNumber = (line: number) => {
    const number = numbers[line - 1];
    if (number === undefined) throw new RangeError(`line: expected 1 to ${numbers.length}`);
    return number;
  };
  return { ...batch, recordNumber };
}

function progressOf(job: Job, batch: Batch, total: number | undefined): ImportProgress {
  const { firstRecord, duplicateRecords, index, records } = batch;
  return {
    index,
    jobId: job.id,
    status: job.status,
    batch: { processedRecords: job.processedRecords, totalRecords: records },
    all: {
      // All duplicates before this batch are behind a record of an earlier one.
      processedRecords: firstRecord + duplicateRecords + job.processedRecords,
      ...(total !== undefined && { totalRecords: total }),
    },
  };
}

/** What was sent has to be what the job has read, and all of that stored or rejected. */
function checkCount(job: Job, { index, records }: Batch): void {
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
  async start(lines: Uint8Array[], batch: Told): Promise<Answer<StartedJob>> {
    const { records: _, onBatch, onProgress, duplicates, onDuplicate, waitForSlot, ...rest } = this.#request;
    const data = new Blob(lines as Uint8Array<ArrayBuffer>[]);
    const { idempotencyKey, signal } = this.#transport.options(this.#options);
    const records = await prepare({ ...rest, data }, signal);
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

  async #wait(batch: Told, signal: AbortSignal | undefined): Promise<void> {
    const left = this.#next - now();
    if (!this.#waits || left <= 0) return;
    await this.#tell(batch, left);
    await sleep(left, signal);
  }

  async #tell(batch: Told, milliseconds: number): Promise<void> {
    const waitSeconds = Math.ceil(milliseconds / 1000);
    await this.#request.onBatch?.({ ...batch, status: 'waiting', waitSeconds });
  }
}

/** A batch has three uploads: one that it needs, and two for those that expire or are refused. */
const OF_A_BATCH = { maxUploads: 3, renewRefused: true };
