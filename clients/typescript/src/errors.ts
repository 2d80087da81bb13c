import type { Job } from './types.js';

/** What is wrong with one member of a request. Names members and rules, never values. */
export interface Issue {
  severity: 'fatal' | 'error' | 'warning' | 'information';
  /** A FHIR issue type, for example `invalid`. */
  code: string;
  /** `<path>: <rule>`, for example `resourceTypes[1]: Unknown resource type`. */
  diagnostics?: string;
  location?: string[];
}

/** The members of a {@link ClinikApiError}. */
export interface ClinikErrorDetails {
  status: number;
  code: string;
  message: string;
  issues?: Issue[] | undefined;
  requestId?: string | undefined;
  retryAfter?: number | undefined;
  /** Why no answer came, as Node says it. */
  cause?: unknown;
}

/**
 * The base of every error that a call throws, apart from the reason of an aborted signal and a `TypeError` or
 * `RangeError` for a wrong argument.
 *
 * The `cause` of a `NETWORK_ERROR` is what Node says of the connection.
 *
 * Tell errors apart by `name`, which also works when two copies of the package are loaded.
 */
export class ClinikApiError extends Error {
  override name = 'ClinikApiError';
  /** The HTTP status, or 0 when the client itself found the error or no answer came. */
  readonly status: number;
  /**
   * The service's code, for example `VALIDATION_ERROR`. `API_ERROR` when the answer is not the service's, as from a proxy;
   * `INVALID_RESPONSE` when such an answer is a success.
   * Codes of the client: `NETWORK_ERROR`, `REQUEST_TIMEOUT`, `JOB_TIMEOUT`, `UPLOAD_FAILED`,
   * `TOO_MANY_RECORDS`, `BATCH_TOO_LARGE`, `INVALID_RECORD`, `JOB_NOT_COMPLETED`, `FILE_NAME_REQUIRED`,
   * `FILE_NAME_UNKNOWN`, `FILE_CHANGED`, `FILE_GONE`, `DOWNLOAD_INCOMPLETE`, `CHECKSUM_MISMATCH`, `COUNT_MISMATCH`,
   * `IDEMPOTENCY_EXPIRED`.
   */
  readonly code: string;
  /** One entry for each violated rule of the request, when the service sent any. */
  declare readonly issues?: Issue[];
  /** The service's name for the call; quote it when you contact support. */
  declare readonly requestId?: string;
  /** Seconds until the call is worth repeating, when the service said so. */
  declare readonly retryAfter?: number;

  constructor(details: ClinikErrorDetails) {
    super(details.message, details.cause === undefined ? undefined : { cause: details.cause });
    this.status = details.status;
    this.code = details.code;
    if (details.issues !== undefined) this.issues = details.issues;
    if (details.requestId !== undefined) this.requestId = details.requestId;
    if (details.retryAfter !== undefined) this.retryAfter = details.retryAfter;
  }
}

/** 401: the key is missing, malformed, unknown, revoked or expired; `code` says which. */
export class ClinikAuthError extends ClinikApiError {
  override name = 'ClinikAuthError';
}

/** 404: absent, of another tenant, or of the other environment. */
export class ClinikNotFoundError extends ClinikApiError {
  override name = 'ClinikNotFoundError';
}

/** 422: the request breaks a rule; or `status` 0: the client refused it, and nothing was sent. */
export class ClinikValidationError extends ClinikApiError {
  override name = 'ClinikValidationError';
}

/** 429: a limit of the minute or the hour (`RATE_LIMITED`), or the month's quota, is used up. */
export class ClinikRateLimitError extends ClinikApiError {
  override name = 'ClinikRateLimitError';
}

/** A call took longer than its `timeout` (`REQUEST_TIMEOUT`), or a job longer than that of `waitForJob` (`JOB_TIMEOUT`). */
export class ClinikTimeoutError extends ClinikApiError {
  override name = 'ClinikTimeoutError';
  /** With `JOB_TIMEOUT`: the job as last seen, if it was seen. It runs on; wait for it again. */
  declare readonly job?: Job;

  constructor(code: 'REQUEST_TIMEOUT' | 'JOB_TIMEOUT', message: string, job?: Job) {
    super({ status: 0, code, message });
    if (job !== undefined) this.job = job;
  }
}

/** The error class of an HTTP status. */
export function errorOfStatus(details: ClinikErrorDetails): ClinikApiError {
  switch (details.status) {
    case 401:
      return new ClinikAuthError(details);
    case 404:
      return new ClinikNotFoundError(details);
    case 422:
      return new ClinikValidationError(details);
    case 429:
      return new ClinikRateLimitError(details);
    default:
      return new ClinikApiError(details);
  }
}

/** An error that the client found by itself. */
export function clientError(code: string, message: string, cause?: unknown): ClinikApiError {
  return new ClinikApiError({ status: 0, code, message, cause });
}

/** A request that the client refused to send. */
export function refusal(code: string, message: string): ClinikValidationError {
  return new ClinikValidationError({ status: 0, code, message });
}
