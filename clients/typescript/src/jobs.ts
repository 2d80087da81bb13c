import { ClinikApiError, ClinikTimeoutError, clientError } from './errors.js';
import { checkTimeout, type RequestOptions } from './options.js';
import { isForeign, isGone, isTransient, MAX_PAUSE, patiently, waitOf } from './retry.js';
import { isJob, isJobPage, isName } from './shapes.js';
import { now, sleep, within } from './time.js';
import type { Answer, Transport } from './transport.js';
import type { Job, JobStatus, JobSummary, JobType, PaginatedResponse, ResourceType } from './types.js';

/** Which jobs to list. Several values of a member mean any of them. */
export interface JobFilter {
  status?: JobStatus | readonly JobStatus[];
  type?: JobType | readonly JobType[];
  resourceType?: ResourceType | readonly ResourceType[];
  /** Jobs per page, 1 to 100. Default: 20. */
  count?: number;
  /** `cursor` of the page before. */
  cursor?: string;
}

/** How to wait for a job. */
export interface WaitOptions {
  /** Milliseconds until the wait ends with a `ClinikTimeoutError`. Default: 3,600,000, an hour. */
  timeout?: number;
  /** Called with the job at every poll. What it throws ends the wait; a promise is waited for. */
  onProgress?: (job: Job) => void;
  /** Stops the wait; it then rejects with the signal's reason. The job runs on. */
  signal?: AbortSignal;
}

const DEFAULT_WAIT = 3_600_000;
/** Milliseconds between polls where the service does not say. */
const DEFAULT_INTERVAL = 5_000;
/** The shortest time between polls, in milliseconds. */
const MIN_INTERVAL = 500;
/** How many times in a row the service has to say that there is no such job. */
const MAX_MISSES = 3;

/** The path of a job. An id goes into a path, so nothing may stand in it that changes the path. */
export function jobPath(id: string): string {
  return `/v1/bulk/jobs/${checkName('job id', id)}`;
}

/** Checks what becomes a segment of a path. */
export function checkName(what: string, name: string): string {
  if (isName(name)) return name;
  throw new TypeError(`${what}: expected 1 to 128 of A-Za-z0-9._-`);
}

export function getJob(
  transport: Transport,
  id: string,
  options: RequestOptions | undefined,
  type?: JobType,
): Promise<Answer<Job>> {
  return transport.call({ method: 'GET', path: jobPath(id), expected: isJob(id, type) }, options);
}

export function cancelJob(transport: Transport, id: string, options: RequestOptions | undefined): Promise<Answer<Job>> {
  return transport.call({ method: 'POST', path: `${jobPath(id)}/cancel`, expected: isJob(id) }, options);
}

/** A key that may only write sees nothing, and may delete. */
function unseen(error: unknown): false {
  if (error instanceof ClinikApiError && error.code === 'INSUFFICIENT_SCOPE') return false;
  throw error;
}

export async function deleteJob(
  transport: Transport,
  id: string,
  options: RequestOptions | undefined,
): Promise<Answer<void>> {
  // Seen first: a 404 behind a lost answer then means that it is deleted, and not that it never was this key's.
  const isSeen = await getJob(transport, id, options).then(() => true, unseen);
  return transport.call({ method: 'DELETE', path: jobPath(id), expected: 'nothing', isSeen }, options);
}

export function listJobs(
  transport: Transport,
  filter: JobFilter,
  options: RequestOptions | undefined,
): Promise<Answer<PaginatedResponse<JobSummary>>> {
  const query = new URLSearchParams();
  for (const name of ['status', 'type', 'resourceType', 'count', 'cursor'] as const) {
    const value = filter[name];
    if (value !== undefined) query.set(name, String(value));
  }
  const text = query.size > 0 ? `?${query}` : '';
  return transport.call({ method: 'GET', path: `/v1/bulk/jobs${text}`, expected: isJobPage }, options);
}

/** All jobs, page by page. */
export async function* allJobs(
  transport: Transport,
  filter: JobFilter,
  options: RequestOptions | undefined,
): AsyncGenerator<JobSummary, void, undefined> {
  let cursor = filter.cursor;
  for (;;) {
    const { data: page } = await listJobs(transport, { ...filter, ...(cursor !== undefined && { cursor }) }, options);
    yield* page.data;
    if (!page.hasMore) return;
    if (page.cursor === undefined || page.cursor === cursor) {
      throw clientError('INVALID_RESPONSE', 'list of jobs: there are more, and no cursor to go on with');
    }
    cursor = page.cursor;
  }
}

/** Polls a job until it has ended. Where its type is known, an answer of another one is not the API's. */
export async function waitForJob(
  transport: Transport,
  id: string,
  wait: WaitOptions,
  options: RequestOptions | undefined,
  type?: JobType,
): Promise<Answer<Job>> {
  const timeout = checkTimeout('timeout', wait.timeout ?? DEFAULT_WAIT);
  const deadline = now() + timeout;
  let last: Job | undefined;
  let misses = 0;
  const timedOut = () => {
    const state = last ? `${last.status} (${last.processedRecords}/${last.totalRecords})` : 'not known';
    return new ClinikTimeoutError(
      'JOB_TIMEOUT',
      `${id} did not end within ${timeout} ms; its state was ${state}`,
      last,
    );
  };
  const isOutage = (error: unknown) => {
    misses = isGone(error) ? misses + 1 : 0;
    return isTransient(error) || isForeign(error) || (misses > 0 && misses < MAX_MISSES);
  };
  // A key of the user's belongs to the start of the job.
  const { idempotencyKey: _, ...rest } = options ?? {};
  const poll = () =>
    within(Math.max(1, deadline - now()), wait.signal, timedOut, (signal) =>
      getJob(transport, id, { ...rest, retries: 0, signal }, type),
    );
  for (;;) {
    const answer = await patiently({ signal: wait.signal, isOutage, deadline }, poll);
    misses = 0;
    last = answer.data;
    await wait.onProgress?.(last);
    if (last.status === 'completed' || last.status === 'failed') return answer;
    const interval = answer.retryAfter === undefined ? DEFAULT_INTERVAL : waitOf(answer.retryAfter, MAX_PAUSE);
    const left = deadline - now();
    if (left <= 0) throw timedOut();
    // The last poll is at the deadline: a job that ended in time is not missed.
    await sleep(Math.min(Math.max(interval, MIN_INTERVAL), left), wait.signal);
  }
}
