import { ClinikApiError } from './errors.js';
import { sleep } from './time.js';

/** The longest `Retry-After` that a call waits for by itself, in seconds. */
const MAX_RETRY_AFTER = 60;
const FIRST_BACKOFF = 500;
const MAX_BACKOFF = 8_000;

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

/** Milliseconds until the next attempt, or `undefined` if there must be none. */
export function retryDelay(error: unknown, attempt: number): number | undefined {
  if (!isTransient(error)) return undefined;
  if (error.retryAfter !== undefined) {
    return error.retryAfter <= MAX_RETRY_AFTER ? error.retryAfter * 1000 : undefined;
  }
  // Jitter keeps clients that failed together from coming back together.
  return Math.min(FIRST_BACKOFF * 2 ** attempt, MAX_BACKOFF) * (0.5 + Math.random() / 2);
}

/** Runs an operation up to `retries` + 1 times. */
export async function withRetries<T>(
  retries: number,
  signal: AbortSignal | undefined,
  operation: (attempt: number) => Promise<T>,
): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await operation(attempt);
    } catch (error) {
      const delay = attempt < retries ? retryDelay(error, attempt) : undefined;
      if (delay === undefined) throw error;
      await sleep(delay, signal);
    }
  }
}

/**
 * Reads `Retry-After`: seconds, or a date. A date is compared with the answer's own `Date`, so that a wrong clock on
 * this machine does not matter.
 */
export function parseRetryAfter(headers: Headers): number | undefined {
  const text = headers.get('retry-after')?.trim();
  if (!text) return undefined;
  if (/^\d+$/.test(text)) return Number(text);
  const seconds = (Date.parse(text) - Date.parse(headers.get('date') ?? '')) / 1000;
  return Number.isNaN(seconds) ? undefined : Math.max(0, Math.ceil(seconds));
}
