import { ClinikApiError } from './errors.js';
import { now, sleep } from './time.js';

/** The longest `Retry-After` that a call waits for by itself, in seconds. */
export const MAX_RETRY_AFTER = 60;
const FIRST_BACKOFF = 500;
const MAX_BACKOFF = 8_000;
const MAX_BACKOFF_IN_OUTAGE = 60_000;
/** The longest pause in an outage and between polls, in milliseconds, whatever `Retry-After` says. */
export const MAX_PAUSE = 300_000;
/** The longest wait for a bulk operation until it is asked for again, in milliseconds. */
const MAX_WAIT = 3_600_000;
/** How long an outage is waited out, in milliseconds. */
const PATIENCE = 600_000;

/** Milliseconds to wait for what the service gave in seconds: never negative, never longer than `max`. */
export function waitOf(seconds: number, max = MAX_WAIT): number {
  return Math.min(Math.max(0, seconds * 1000), max);
}

/** Whether the same call may succeed later: no answer came, or the service is busy or down. */
export function isTransient(error: unknown): error is ClinikApiError {
  if (!(error instanceof ClinikApiError)) return false;
  if (error.status === 0) return error.code === 'NETWORK_ERROR' || error.code === 'REQUEST_TIMEOUT';
  if (error.status === 429) {
    // A gateway that throttles sends neither code nor Retry-After. A used-up quota has a code of its own: never again.
    return error.code === 'API_ERROR' || (error.code === 'RATE_LIMITED' && error.retryAfter !== undefined);
  }
  return error.status === 408 || error.status >= 500;
}

/** What a proxy says in place of the service: that it wants to know who asks, or that nothing is there. */
const OF_A_PROXY = new Set([401, 403, 404, 407]);

/**
 * Whether something between here and the service has answered in its place, such as a proxy with a page of its own. What
 * the service itself says has a code of its own.
 */
export function isForeign(error: unknown): boolean {
  if (!(error instanceof ClinikApiError)) return false;
  const { status, code } = error;
  if (code === 'INVALID_RESPONSE') return status >= 200 && status < 300;
  return code === 'API_ERROR' && ((status >= 300 && status < 400) || OF_A_PROXY.has(status));
}

/** Whether the service itself says that there is no such thing. */
export function isGone(error: unknown): error is ClinikApiError {
  return error instanceof ClinikApiError && error.status === 404 && error.code === 'NOT_FOUND';
}

// Jitter keeps clients that failed together from coming back together.
function backoff(attempt: number, max: number): number {
  return Math.min(FIRST_BACKOFF * 2 ** attempt, max) * (0.5 + Math.random() / 2);
}

/** Runs an operation until it succeeds or `pauseAfter` gives no time to wait, in milliseconds. */
async function repeat<T>(
  signal: AbortSignal | undefined,
  operation: (attempt: number) => Promise<T>,
  pauseAfter: (error: unknown, attempt: number) => number | undefined,
  onPause?: (milliseconds: number) => void | Promise<void>,
): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    let pause: number | undefined;
    try {
      return await operation(attempt);
    } catch (error) {
      pause = pauseAfter(error, attempt);
      if (pause === undefined) throw error;
    }
    await onPause?.(pause);
    await sleep(pause, signal);
  }
}

/** The policy of a single call: runs it up to `retries` + 1 times. */
export function withRetries<T>(
  retries: number,
  signal: AbortSignal | undefined,
  operation: (attempt: number) => Promise<T>,
): Promise<T> {
  return repeat(signal, operation, (error, attempt) => {
    if (attempt >= retries || !isTransient(error)) return undefined;
    if (error.retryAfter === undefined) return backoff(attempt, MAX_BACKOFF);
    return error.retryAfter <= MAX_RETRY_AFTER ? waitOf(error.retryAfter) : undefined;
  });
}

/** How an outage is waited out. */
export interface Patience {
  readonly signal: AbortSignal | undefined;
  /** What belongs to an outage. Default: what is transient, and answers that are not the service's. */
  readonly isOutage?: (error: unknown) => boolean;
  /** No pause goes beyond it, by the clock of `now`. */
  readonly deadline?: number;
  /** Told of every pause before it begins, in milliseconds. What it throws ends the wait. */
  readonly onPause?: (milliseconds: number) => void | Promise<void>;
}

/**
 * The policy of everything that takes many calls: an outage of the network or of the service is waited out for ten
 * minutes, with pauses that grow; then its error is thrown. The operation makes one attempt of its own.
 */
export function patiently<T>(
  { signal, isOutage, deadline, onPause }: Patience,
  operation: () => Promise<T>,
): Promise<T> {
  let since: number | undefined;
  const pauseAfter = (error: unknown, attempt: number) => {
    if (!(isOutage ?? isAway)(error)) return undefined;
    since ??= now();
    if (now() - since >= PATIENCE) return undefined;
    // `Retry-After: 0` is no pause at all.
    const asked = waitOf((error as ClinikApiError).retryAfter ?? 0, MAX_PAUSE);
    const pause = asked > 0 ? asked : backoff(attempt, MAX_BACKOFF_IN_OUTAGE);
    return deadline === undefined ? pause : Math.max(0, Math.min(pause, deadline - now()));
  };
  return repeat(signal, operation, pauseAfter, onPause);
}

function isAway(error: unknown): boolean {
  return isTransient(error) || isForeign(error);
}

/**
 * Reads `Retry-After`: seconds, or a date. A date is compared with the answer's own `Date`, so that a wrong clock on
 * this machine does not matter. It is the true number, which nobody may wait for without `waitOf`.
 */
export function parseRetryAfter(headers: Headers): number | undefined {
  const text = headers.get('retry-after')?.trim();
  if (!text) return undefined;
  if (/^\d+$/.test(text)) return Number(text);
  const seconds = (Date.parse(text) - Date.parse(headers.get('date') ?? '')) / 1000;
  return Number.isNaN(seconds) ? undefined : Math.max(0, Math.ceil(seconds));
}
