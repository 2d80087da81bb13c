export type { DuplicateRecord } from './batches.js';
export type { Bulk } from './bulk.js';
export { Clinik } from './client.js';
export {
  ClinikApiError,
  ClinikAuthError,
  type ClinikErrorDetails,
  ClinikNotFoundError,
  ClinikRateLimitError,
  ClinikTimeoutError,
  ClinikValidationError,
  type Issue,
} from './errors.js';
export type { RecordsOptions } from './files.js';
export type { ImportAllRequest, ImportBatch, ImportedJob, ImportProgress } from './import-all.js';
export type { JobFilter, WaitOptions } from './jobs.js';
export type { BlobLike, ImportData } from './ndjson.js';
export type { ClinikOptions, RequestOptions } from './options.js';
export type * from './records.js';
export type {
  ExportRequest,
  ImportRecords,
  ImportRequest,
  ImportResources,
  ImportUpload,
  ValidateRecords,
  ValidateRequest,
  ValidateResources,
} from './start.js';
export type * from './types.js';
