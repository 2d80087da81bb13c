import type { ResourceType } from './generated/openapi.gen.js';

export type { ResourceType };

/** What a call returns. */
export interface ApiResponse<T> {
  data: T;
  meta: ResponseMeta;
}

/** About the call itself. The limit is the one that governs the call: per hour for import and export, else per minute. */
export interface ResponseMeta {
  /** The service's name for the call; quote it when you contact support. */
  requestId: string;
  /** When the service answered, RFC 3339. */
  timestamp: string;
  /** The HTTP status. */
  status: number;
  /** The limit: bulk operations per hour, or requests per minute. */
  rateLimitTotal?: number;
  /** How many are left. */
  rateLimitRemaining?: number;
  /** Seconds until the next one is available. */
  rateLimitReset?: number;
  /** What the service did not take as it was meant, such as a member of the request that it does not know. */
  warnings?: string[];
}

/** One page of a list. */
export interface PaginatedResponse<T> {
  /** The items of this page. */
  data: T[];
  /** Pass it as `cursor` to get the next page. */
  cursor?: string;
  /** Whether there is a next page. */
  hasMore: boolean;
}

/** What a job does. */
export type JobType = 'import' | 'export';
/** A job is done when it is `completed` or `failed`. */
export type JobStatus = 'pending' | 'processing' | 'completed' | 'failed';
/** How a job ended: `partial` with rejected records, `cancelled` by a call. */
export type JobOutcome = 'succeeded' | 'partial' | 'cancelled' | 'failed';
/** One file for the whole export, or one for each type. */
export type ExportFiles = 'single' | 'perType';
/** With `gzip` the names of files end in `.ndjson.gz`. */
export type Compression = 'none' | 'gzip';

/** The shape of records in a file: the API's own, or FHIR R4 resources. */
export type RecordFormat = 'flat' | 'fhir';
/** What becomes of FHIR elements that records have no member for: kept in `x-fhir`, or left out. */
export type Unmapped = 'keep' | 'drop';

/** An element of FHIR that records have no member for, over all of an import. Holds no value. */
export interface LostElement {
  resourceType: ResourceType;
  /** As `identifier.value`. */
  element: string;
  /** Records that have lost it. */
  records: number;
  /** Whether it is kept in `x-fhir`. */
  kept: boolean;
  /** Whether it changes what a record means. */
  modifier: boolean;
}

/** The answer to the start of an import or export. */
export interface StartedJob {
  /** Pass it to `waitForJob` or `getJob`. */
  jobId: string;
  status: 'pending';
  /** For people, in English. */
  message: string;
}

/** A job, as it was when the service answered. Times are RFC 3339; URLs are pre-signed and work for one hour at most. */
export interface Job {
  id: string;
  type: JobType;
  /** Poll until it is `completed` or `failed`; there are no other states. */
  status: JobStatus;
  /** How it ended; absent before. `partial`: some records were rejected. */
  outcome?: JobOutcome;
  /** Records of the job; 0 until known. */
  totalRecords: number;
  /** Records done, rejected ones included; never decreases. */
  processedRecords: number;
  /** Import: records stored. */
  succeededRecords?: number;
  /** Import: records rejected. */
  failedRecords?: number;
  /** Completed export in one file: a fresh URL at every poll. */
  downloadUrl?: string;
  /** The latest moment at which `downloadUrl` works. */
  downloadUrlExpiresAt?: string;
  /** The first 100 violations of an import; for a failed job the reason, without `index` and `line`. */
  errors: JobError[];
  /** How many violations there are in all. */
  errorCount: number;
  /** Whether there are more than `errors` holds; `bulk.errors` reads all of them. */
  errorsTruncated: boolean;
  /** Import: all violations as NDJSON. */
  errorsUrl?: string;
  /** Import: the rejected lines, byte for byte. */
  rejectedUrl?: string;
  /** Import: what became of each line, as NDJSON. */
  resultsUrl?: string;
  /** Once completed: the job's files. */
  files?: JobFile[];
  /** As given at the start. */
  label?: string;
  /** Import: the type of its records. */
  resourceType?: ResourceType;
  /** Export: the types asked for. */
  resourceTypes?: ResourceType[];
  /** Export: as given at the start. What was deleted since is in `bulk.deleted`. */
  since?: string;
  /** Its records are FHIR R4 resources. */
  format?: 'fhir';
  /** With `format`: which mapping to FHIR made them. */
  mappingVersion?: number;
  /** Completed import of resources: how many elements records have no member for; `losses.ndjson` names them. */
  lostElements?: number;
  createdAt: string;
  startedAt?: string;
  completedAt?: string;
  /** Until when job and files are kept. */
  expiresAt: string;
  /** Export: the `since` of the next one; nothing is missed, and the last minutes come again. */
  transactionTime?: string;
}

/** A job in a list: without `errors` and without pre-signed URLs. */
export type JobSummary = Omit<
  Job,
  'errors' | 'downloadUrl' | 'downloadUrlExpiresAt' | 'errorsUrl' | 'rejectedUrl' | 'resultsUrl'
>;

/** A violation, or the reason why a job failed. Holds no values. */
export interface JobError {
  /** The line, from 0. */
  index?: number;
  /** The line, from 1. */
  line?: number;
  /** For example `required`, `enum`, `invalid_json`. */
  code: string;
  /** A JSON pointer to the member, for example `/contact/0/email`. */
  path?: string;
  /** `<path>: <rule>`, for example `firstName: Required`. */
  message: string;
}

/** A file of a completed job. */
export interface JobFile {
  /** The `name` of `bulk.download`. */
  name: string;
  /** One file per type: the type of its records. `deleted.ndjson`, which names deleted records, has none. */
  resourceType?: ResourceType;
  /** Lines in the file. */
  records: number;
  /** Size as downloaded. */
  bytes: number;
  /** SHA-256 of the file's bytes, in hex. */
  sha256: string;
  /** Stable; answers with a redirect to a pre-signed URL, and needs the key. */
  url: string;
}

/** A record that was deleted, as an export with `since` tells of it. */
export interface DeletedRecord {
  resourceType: ResourceType;
  id: string;
  /** RFC 3339. */
  deletedAt: string;
}

/** What became of one line of an import. */
export interface ImportResult {
  /** From 1. */
  line: number;
  /** `stored`: created or replaced, which of them is not known. */
  outcome: 'created' | 'replaced' | 'stored' | 'rejected';
  /** The id of the stored record, where known. */
  id?: string;
}

/** A place to upload a batch to. */
export interface CreatedUpload {
  uploadId: string;
  /** A pre-signed PUT of exactly the bytes asked for. Send no header of your own with it, and never the key. */
  uploadUrl: string;
  /** Until when it takes the upload, RFC 3339. */
  expiresAt: string;
  /** The largest upload, in bytes. */
  maxBytes: number;
}

/** What an import of the same data would find. */
export interface ValidationReport {
  totalRecords: number;
  validRecords: number;
  invalidRecords: number;
  /** The first 1,000 violations. */
  errors: JobError[];
  errorCount: number;
  errorsTruncated: boolean;
  /** Of FHIR resources: what records have no member for. */
  losses?: LostElement[];
}

/** The limits of the key's tenant and what is left of them. `null` is unlimited. */
export interface Limits {
  /** The tenant that the key belongs to. */
  tenantId: string;
  plan: 'sandbox' | 'starter' | 'pro' | 'team' | 'enterprise';
  environment: 'test' | 'live';
  /** Imports and exports in a rolling hour. */
  bulkOperations: RateLimit;
  requestsPerMinute: RateLimit;
  requestsPerMonth: {
    limit: number | null;
    used: number;
    remaining: number | null;
    /** When the month ends, RFC 3339. */
    resetAt: string;
  };
  /** The largest batch. */
  batch: { maxRecords: number; maxBodyBytes: number; maxUploadBytes: number };
}

/** A limit on a rate. `null` is unlimited. */
export interface RateLimit {
  limit: number | null;
  remaining: number | null;
  /** Seconds until the next one is available. */
  resetSeconds: number;
}
