import {
  downloadFile,
  type RecordsOptions,
  readDeleted,
  readErrors,
  readExportLines,
  readRecords,
  readRejected,
  readResults,
} from './files.js';
import { type ImportAllRequest, type ImportedJob, importAll } from './import-all.js';
import {
  allJobs,
  cancelJob,
  deleteJob,
  getJob,
  type JobFilter,
  listJobs,
  type WaitOptions,
  waitForJob,
} from './jobs.js';
import type { BlobLike } from './ndjson.js';
import type { RequestOptions } from './options.js';
import type { ExportedRecord } from './records.js';
import { importOnce, RememberedUploads } from './sending.js';
import { isLimits } from './shapes.js';
import { type ExportRequest, type ImportRequest, startExport, type ValidateRequest, validate } from './start.js';
import type { Answer, Transport } from './transport.js';
import type {
  ApiResponse,
  CreatedUpload,
  DeletedRecord,
  ImportResult,
  Job,
  JobError,
  JobSummary,
  Limits,
  PaginatedResponse,
  ResourceType,
  StartedJob,
  ValidationReport,
} from './types.js';
import { createUpload, upload } from './upload.js';

/**
 * Bulk import and export.
 *
 * Every call may fail with a {@link ClinikApiError}: `ClinikAuthError` (401), `ClinikRateLimitError` (429),
 * `ClinikTimeoutError`, or with `code` `INSUFFICIENT_SCOPE`, `NETWORK_ERROR`, `INTERNAL_ERROR`, `UNAVAILABLE`. What a
 * method says under *throws* comes on top. A call that failed for want of the network or of the service has been
 * repeated before; see README.
 */
export interface Bulk {
  /**
   * Starts an import of up to 10,000 records and 104,857,600 bytes. Takes one bulk operation.
   *
   * From 3,000,000 bytes on the records are compressed and uploaded first, which needs no work of yours. Invalid records
   * are reported in the job and do not fail it.
   *
   * Values that JSON would alter or leave out in silence, such as `NaN` or a `Map`, are refused before anything is sent.
   *
   * With an `idempotencyKey` the call may be repeated after an error, with the same records, and finds its job. What is
   * uploaded is found again by the same client only; from another one it is an `IDEMPOTENCY_CONFLICT`, and never a
   * second job.
   *
   * @throws ClinikValidationError if the request breaks a rule; `TOO_MANY_RECORDS` or `BATCH_TOO_LARGE` with `status` 0
   * if it exceeds a batch: use {@link Bulk.importAll}.
   * @throws ClinikApiError `IDEMPOTENCY_CONFLICT` (409), `UPLOAD_FAILED`, `PAYLOAD_TOO_LARGE` (413).
   * @throws TypeError for `data` of another form, and a record or value that JSON cannot hold; it names record and member
   */
  import<T extends ResourceType>(request: ImportRequest<T>, options?: RequestOptions): Promise<ApiResponse<StartedJob>>;

  /**
   * Starts an export of all records of the types, or of those changed since a time. Takes one bulk operation.
   *
   * @throws ClinikValidationError for an unknown type or a `since` in the future.
   * @throws ClinikApiError `IDEMPOTENCY_CONFLICT` (409).
   */
  export(request: ExportRequest, options?: RequestOptions): Promise<ApiResponse<StartedJob>>;

  /** A job as it is now. @throws ClinikNotFoundError */
  getJob(id: string, options?: RequestOptions): Promise<ApiResponse<Job>>;

  /** One page of the jobs, newest first. @throws ClinikValidationError for an unknown value or a foreign cursor. */
  listJobs(filter?: JobFilter, options?: RequestOptions): Promise<ApiResponse<PaginatedResponse<JobSummary>>>;

  /** All jobs, newest first; pages are fetched as they are needed. @throws as {@link Bulk.listJobs} */
  jobs(filter?: JobFilter, options?: RequestOptions): AsyncIterable<JobSummary>;

  /**
   * Cancels a job that has not ended. What an import has stored stays stored. A job that has ended stays as it is, so
   * the call may be repeated.
   *
   * @throws ClinikNotFoundError
   */
  cancelJob(id: string, options?: RequestOptions): Promise<ApiResponse<Job>>;

  /**
   * Deletes a job that has ended, and its files. Imported records stay.
   *
   * @throws ClinikNotFoundError
   * @throws ClinikApiError `JOB_NOT_FINISHED` (409): cancel it first.
   */
  deleteJob(id: string, options?: RequestOptions): Promise<ApiResponse<void>>;

  /**
   * Says what an import of the records would find, and stores nothing. Takes no bulk operation.
   *
   * @throws ClinikValidationError, TypeError as {@link Bulk.import}
   * @throws ClinikApiError `PAYLOAD_TOO_LARGE` (413)
   */
  validate<T extends ResourceType>(
    request: ValidateRequest<T>,
    options?: RequestOptions,
  ): Promise<ApiResponse<ValidationReport>>;

  /**
   * Creates an upload of exactly `bytes` bytes, 1 to 104,857,600. PUT the NDJSON, plain or gzip, to its `uploadUrl`
   * within the hour, without headers of your own; then import with its `uploadId`.
   *
   * @throws ClinikValidationError, ClinikApiError `PAYLOAD_TOO_LARGE` (413)
   */
  createUpload(request: { bytes: number }, options?: RequestOptions): Promise<ApiResponse<CreatedUpload>>;

  /**
   * Creates an upload and uploads the bytes, NDJSON or gzip of it. Write the `uploadId` down before you import it: with
   * it and an `idempotencyKey` the import may be repeated after a restart and starts one job.
   *
   * @throws as {@link Bulk.createUpload}; ClinikApiError `UPLOAD_FAILED`
   */
  upload(bytes: Uint8Array | BlobLike, options?: RequestOptions): Promise<ApiResponse<CreatedUpload>>;

  /** The limits of the key's tenant, and what is left of them. */
  getLimits(options?: RequestOptions): Promise<ApiResponse<Limits>>;

  /**
   * Polls a job until it is `completed` or `failed`, as often as the service asks for. Goes on when the network or the
   * service is away for up to ten minutes.
   *
   * @throws ClinikTimeoutError with the job as last seen, after `timeout` milliseconds (default: an hour)
   * @throws ClinikNotFoundError once the service has said so three times in a row
   */
  waitForJob(id: string, wait?: WaitOptions): Promise<ApiResponse<Job>>;

  /**
   * Imports any number of records: cuts them into batches, starts a job for each, waits for it and yields it, completed
   * or failed. The next batch starts when the next job is asked for; leave the loop to stop.
   *
   * A record whose `id` an earlier one of the import has is not sent: `onDuplicate` tells of it, and `duplicateRecords` of
   * the job counts it. With `duplicates: 'last'` it is, and replaces what an earlier batch has stored.
   *
   * When the bulk operations of the hour are used up it waits for the next one, and it waits out a network or service
   * that is away for up to ten minutes. Each batch has one idempotency key and one upload, however often it is sent, so
   * that it becomes one job. Give records an `id` of yours, too: then importing them once more after a failure stores
   * nothing twice.
   *
   * @throws ClinikRateLimitError for a used-up quota of the month, or with `waitForSlot: false` of the hour
   * @throws ClinikApiError `COUNT_MISMATCH` if a job has not read as many records as were sent, or not stored or rejected
   * each of them; `UPLOAD_FAILED`, `IDEMPOTENCY_CONFLICT`
   * @throws TypeError as {@link Bulk.import}; the batches before have been imported then
   */
  importAll<T extends ResourceType>(request: ImportAllRequest<T>, options?: RequestOptions): AsyncIterable<ImportedJob>;

  /**
   * Downloads a file of a completed job, one of its `files` or the list of their hashes, `SHA256SUMS`; without a name, the
   * file with the records of an export that has one. A connection that breaks is resumed. Size and SHA-256 are verified at the end: if they are wrong the stream fails instead of ending, so
   * keep what you have written only if it ended.
   *
   * @throws ClinikNotFoundError
   * @throws ClinikValidationError `JOB_NOT_COMPLETED`, `FILE_NAME_REQUIRED`, `FILE_NAME_UNKNOWN`
   * @throws ClinikApiError `FILE_GONE`; in the stream `CHECKSUM_MISMATCH`, `FILE_CHANGED`, `DOWNLOAD_INCOMPLETE`
   */
  download(id: string, name?: string, options?: RequestOptions): Promise<ReadableStream<Uint8Array>>;

  /**
   * The records of a completed export, of all its files, gzip or not. Every file is read and verified to its end: keep
   * what you have done with the records only if the loop ended without an error.
   *
   * JavaScript's numbers are not those of the record: whole ones beyond 2^53, and more than 15 digits, are rounded, and
   * `1.10` becomes `1.1`. Read the text with {@link Bulk.lines} where that matters.
   *
   * @throws as {@link Bulk.download}; ClinikApiError `INVALID_RECORD` for a line that is not JSON, `COUNT_MISMATCH` if
   * there are not as many as the job tells of
   */
  records<T = ExportedRecord>(id: string, options?: RecordsOptions): AsyncIterable<T>;

  /**
   * The lines of a completed export as they are, each a record in JSON, of all its files, gzip or not, verified as by
   * {@link Bulk.records}.
   *
   * @throws as {@link Bulk.records}, `INVALID_RECORD` for a line that is not UTF-8
   */
  lines(id: string, options?: RecordsOptions): AsyncIterable<string>;

  /**
   * What was deleted since the `since` of a completed export and is not stored again; nothing where nothing was, and of
   * an export without `since`. {@link Bulk.records} and {@link Bulk.lines} leave it out. A replica stores the records of
   * the export first, and then deletes these.
   *
   * @throws as {@link Bulk.records}
   */
  deleted(id: string, options?: RequestOptions): AsyncIterable<DeletedRecord>;

  /** All violations of an import, where the job shows 100; of a failed job its reason. @throws as {@link Bulk.download} */
  errors(id: string, options?: RequestOptions): AsyncIterable<JobError>;

  /**
   * The rejected lines of an import, to fix and import again. Invalid UTF-8 becomes U+FFFD; byte for byte they are in
   * `download(id, 'rejected.ndjson')`.
   *
   * @throws as {@link Bulk.download}
   */
  rejected(id: string, options?: RequestOptions): AsyncIterable<string>;

  /** What became of each line of an import, with the ids of the stored records. @throws as {@link Bulk.download} */
  results(id: string, options?: RequestOptions): AsyncIterable<ImportResult>;
}

/** The namespace: functions that need no `this`. */
export function createBulk(transport: Transport): Bulk {
  const remembered = new RememberedUploads();
  return {
    import: (request, options) => response(importOnce(transport, remembered, request, options)),
    export: (request, options) => response(startExport(transport, request, options)),
    getJob: (id, options) => response(getJob(transport, id, options)),
    listJobs: (filter, options) => response(listJobs(transport, filter ?? {}, options)),
    jobs: (filter, options) => allJobs(transport, filter ?? {}, options),
    cancelJob: (id, options) => response(cancelJob(transport, id, options)),
    deleteJob: (id, options) => response(deleteJob(transport, id, options)),
    validate: (request, options) => response(validate(transport, request, options)),
    createUpload: ({ bytes }, options) => response(createUpload(transport, bytes, options)),
    upload: (bytes, options) => response(upload(transport, bytes, options)),
    getLimits: (options) =>
      response(transport.call<Limits>({ method: 'GET', path: '/v1/bulk/limits', expected: isLimits }, options)),
    waitForJob: (id, wait) => response(waitForJob(transport, id, wait ?? {}, undefined)),
    importAll: (request, options) => importAll(transport, remembered, request, options),
    download: (id, name, options) => downloadFile(transport, id, name, options),
    records: <T>(id: string, options?: RecordsOptions) => readRecords<T>(transport, id, options),
    lines: (id, options) => readExportLines(transport, id, options),
    deleted: (id, options) => readDeleted(transport, id, options),
    errors: (id, options) => readErrors(transport, id, options),
    rejected: (id, options) => readRejected(transport, id, options),
    results: (id, options) => readResults(transport, id, options),
  };
}

async function response<T>(answer: Promise<Answer<T>>): Promise<ApiResponse<T>> {
  const { data, meta } = await answer;
  return { data, meta };
}
