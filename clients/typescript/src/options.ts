import { MAX_DELAY } from './time.js';

/** Options of the client. */
export interface ClinikOptions {
  /**
   * Where the API is: an `http` or `https` URL, with a path if it has one. Default: the environment variable
   * `CLINIKAPI_BASE_URL`, then `https://api.clinikapi.com`.
   */
  baseUrl?: string;
  /** Milliseconds that one attempt of a call may take. Default: 30,000. */
  timeout?: number;
  /**
   * How often a call that failed is repeated, 0 to 10. Default: 2. `waitForJob`, the batches of `importAll` and downloads
   * that have begun wait an outage out, whatever it is.
   */
  retries?: number;
  /** In place of the global `fetch`, for example to go through a proxy. It must not follow redirects by itself. */
  fetch?: typeof globalThis.fetch;
}

/** Options of one call; they take precedence over those of the client. */
export interface RequestOptions {
  /** Stops the call at any stage; it then rejects with the signal's reason. */
  signal?: AbortSignal;
  /**
   * Milliseconds that one attempt may take; for a download, that may pass without data. An upload may take longer by a
   * second for every 50 kB.
   */
  timeout?: number;
  /** How often a call that failed is repeated, 0 to 10. */
  retries?: number;
  /**
   * 1 to 255 visible ASCII characters. For 24 hours a call with the same key and body starts no second job. Every POST
   * has one; give your own to repeat a call safely after your program was restarted.
   */
  idempotencyKey?: string;
}

const KEY_VARIABLE = 'CLINIKAPI_SECRET_KEY';
const DEFAULT_BASE_URL = 'https://api.clinikapi.com';

/** Checks a time in milliseconds. */
export function checkTimeout(name: string, value: number): number {
  if (!(typeof value === 'number' && value > 0 && value <= MAX_DELAY)) {
    throw new RangeError(`${name}: expected milliseconds, more than 0 and at most ${MAX_DELAY}`);
  }
  return value;
}

function checkRetries(value: number): number {
  if (!(Number.isInteger(value) && value >= 0 && value <= 10)) {
    throw new RangeError('retries: expected an integer from 0 to 10');
  }
  return value;
}

/** Checks the options of a call, and completes them. */
export function resolveOptions(
  options: RequestOptions | undefined,
  defaults: { timeout: number; retries: number },
): RequestOptions & { timeout: number; retries: number } {
  const { timeout = defaults.timeout, retries = defaults.retries, signal, idempotencyKey } = options ?? {};
  if (idempotencyKey !== undefined && !/^[!-~]{1,255}$/.test(idempotencyKey)) {
    throw new TypeError('idempotencyKey: expected 1 to 255 visible ASCII characters');
  }
  return {
    timeout: checkTimeout('timeout', timeout),
    retries: checkRetries(retries),
    ...(signal !== undefined && { signal }),
    ...(idempotencyKey !== undefined && { idempotencyKey }),
  };
}

/**
 * The key, given or of the environment. What cannot be sent in a header would else be shown in fetch's own error.
 */
export function resolveApiKey(option: string | undefined): string {
  const name = option === undefined ? KEY_VARIABLE : 'apiKey';
  const key = option ?? process.env[KEY_VARIABLE];
  if (key === undefined) {
    throw new TypeError(`${KEY_VARIABLE}: expected your secret key; it is not set. Set it, or use new Clinik(apiKey)`);
  }
  if (typeof key !== 'string' || key === '') {
    throw new TypeError(`${name}: expected your secret key, for example from ${KEY_VARIABLE}; it is empty`);
  }
  if (!/^[!-~]+$/.test(key)) {
    throw new TypeError(`${name}: expected visible ASCII characters only; remove spaces and line ends`);
  }
  return key;
}

/** The base URL without its last slash. It is never shown in an error: it may have been mixed up with the key. */
export function resolveBaseUrl(option: string | undefined): string {
  const name = option === undefined ? 'CLINIKAPI_BASE_URL' : 'baseUrl';
  const text = option ?? (process.env.CLINIKAPI_BASE_URL || DEFAULT_BASE_URL);
  const url = typeof text === 'string' && URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw new TypeError(`${name}: expected an http or https URL, for example ${DEFAULT_BASE_URL}`);
  }
  if (url.username || url.password || url.search || url.hash) {
    throw new TypeError(`${name}: expected a URL without user, password, query and fragment`);
  }
  if (url.protocol === 'http:' && !/^(localhost|127\..*|\[::1\])$/.test(url.hostname)) {
    process.emitWarning(`${name} is not https: the key and the records can be read on the way`, 'ClinikWarning');
  }
  return (url.origin + url.pathname).replace(/\/+$/, '');
}
