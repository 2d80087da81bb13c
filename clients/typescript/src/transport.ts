import { randomUUID } from 'node:crypto';
import { inspect, promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { answerError, type Expected, readAnswer } from './answer.js';
import { ClinikApiError, ClinikTimeoutError, clientError } from './errors.js';
import { type RequestOptions, resolveOptions } from './options.js';
import { isGone, isTransient, parseRetryAfter, withRetries } from './retry.js';
import { unlessAborted, within } from './time.js';
import type { ApiResponse } from './types.js';
import { VERSION } from './version.js';

export type Fetch = typeof globalThis.fetch;

/** From this size on, in bytes, the gateway may refuse a body that is sent as text. */
export const MAX_TEXT_BODY = 3_000_000;

/** From this size on, in bytes, a body is compressed: below it saves nothing that is worth the work. */
const MIN_GZIP_BODY = 1_024;

/** A call of the API. */
export interface Call {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** From `/v1` on, with the query. */
  readonly path: string;
  readonly body?: object;
  /** What its answer has to be. */
  readonly expected: Expected;
  /** Of a deletion: what is to be deleted was there. */
  readonly isSeen?: boolean;
}

/** What a call came back with. */
export interface Answer<T> extends ApiResponse<T> {
  /** Seconds until the next poll. */
  readonly retryAfter: number | undefined;
}

/** A request to any host, as `fetch` takes it. */
export interface Exchange<T> {
  /** Names the request in errors: neither URL nor headers, for both hold secrets. */
  readonly name: string;
  readonly url: string;
  readonly init: RequestInit;
  /** Milliseconds until answer and body have to be there. */
  readonly timeout: number;
  readonly signal: AbortSignal | undefined;
  /** Reads the answer; part of the time. */
  readonly read: (response: Response, signal: AbortSignal) => Promise<T>;
}

/** Sends requests: with the key to the API, without it anywhere else. */
export class Transport {
  readonly #fetch: Fetch;
  /** Without a slash at its end. */
  readonly baseUrl: string;
  readonly #apiKey: string;
  readonly #defaults: { timeout: number; retries: number };
  #hasAnswered = false;

  constructor(fetch: Fetch, baseUrl: string, apiKey: string, defaults: { timeout: number; retries: number }) {
    this.#fetch = fetch;
    this.baseUrl = baseUrl;
    this.#apiKey = apiKey;
    this.#defaults = defaults;
  }

  /** The options of a call, completed by those of the client. */
  options(options: RequestOptions | undefined): RequestOptions & { timeout: number; retries: number } {
    return resolveOptions(options, this.#defaults);
  }

  /** Whether the API has ever answered here; until then what answers in its place may mean a wrong address. */
  get hasAnswered(): boolean {
    return this.#hasAnswered;
  }

  /** Calls the API and reads its JSON. Repeats the call as the retry policy says. */
  async call<T>(call: Call, options: RequestOptions | undefined): Promise<Answer<T>> {
    const { timeout, retries, signal, idempotencyKey } = this.options(options);
    const init = await unlessAborted(signal, () => this.#request(call, idempotencyKey));
    const name = `${call.method} ${call.path.replace(/\?.*/, '')}`;
    let mayBeDone = false;
    return withRetries(retries, signal, async () => {
      try {
        return await this.exchange<Answer<T>>({
          name,
          url: this.baseUrl + call.path,
          init,
          timeout,
          signal,
          read: async (response) => {
            if (!response.ok) throw await this.error(name, response);
            const answer = await readAnswer<T>(name, response, call.expected);
            this.#hasAnswered = true;
            return { ...answer, retryAfter: parseRetryAfter(response.headers) };
          },
        });
      } catch (error) {
        // An earlier attempt has deleted it, and its answer was lost.
        if (call.isSeen === true && mayBeDone && isGone(error)) {
          return { data: undefined as T, meta: metaOfError(error, 204), retryAfter: undefined };
        }
        // A limit proves that nothing was done.
        mayBeDone ||= isTransient(error) && error.status !== 429;
        throw error;
      }
    });
  }

  /** Calls the API for a file: gives `read` whatever answer it has, redirects not followed. One attempt. */
  async callForFile<T>(
    path: string,
    options: { timeout: number; signal?: AbortSignal },
    read: (response: Response, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const { timeout, signal } = options;
    const init = await this.#request({ method: 'GET', path }, undefined);
    return this.exchange({ name: `GET ${path}`, url: this.baseUrl + path, init, timeout, signal, read });
  }

  /** The error that an answer of the API stands for. */
  async error(name: string, response: Response): Promise<ClinikApiError> {
    const error = await answerError(name, response, this.#apiKey);
    this.#hasAnswered ||= error.code !== 'API_ERROR';
    return error;
  }

  /** A link that the API gave, to a host without the key: never one whose content could be read on the way. */
  checkLink(name: string, link: string): string {
    const url = URL.canParse(link, this.baseUrl) ? new URL(link, this.baseUrl) : undefined;
    const isSafe = url?.protocol === 'https:' || (url?.protocol === 'http:' && this.baseUrl.startsWith('http:'));
    if (url !== undefined && isSafe) return url.href;
    throw clientError('INVALID_RESPONSE', `${name}: the API's link does not lead to a safe URL`);
  }

  /** Makes one request. Fails with the signal's reason, a time-out, a network error, or what `read` throws. */
  async exchange<T>({ name, url, init, timeout, signal, read }: Exchange<T>): Promise<T> {
    const { host } = new URL(url);
    const onTimeout = () =>
      new ClinikTimeoutError('REQUEST_TIMEOUT', `${name}: no answer of ${host} within ${timeout} ms`);
    return within(timeout, signal, onTimeout, async (inner) => {
      try {
        const fetch = this.#fetch;
        const response = await fetch(url, { ...init, redirect: 'manual', signal: inner });
        // A fetch that does not mind its signal: nobody waits for this answer any more, so its connection is freed.
        if (inner.aborted) await response.body?.cancel();
        inner.throwIfAborted();
        return await read(response, inner);
      } catch (error) {
        throw error instanceof ClinikApiError || inner.aborted ? error : this.networkError(name, url, error);
      }
    });
  }

  /**
   * The error of a connection that failed: names the host, and holds what Node says of it. An id in the request's name
   * is no part of it: what is wrong is wrong for all of them.
   */
  networkError(name: string, url: string, error: unknown): ClinikApiError {
    const { host, search } = new URL(url);
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    const code = cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : undefined;
    const kind = code ?? (cause instanceof Error ? cause.name : 'unknown');
    const general = name.replace(/(?<=\/jobs\/)[^/]+|job_[A-Za-z0-9]+/g, '{jobId}');
    // The error of a `fetch` of the user's own may hold headers or the URL, whose signature is a secret.
    const isSafe = !shows(cause, [this.#apiKey, search]);
    const message = `${general}: the connection to ${host} failed (${kind})`;
    return clientError('NETWORK_ERROR', message, isSafe ? cause : undefined);
  }

  async #request(call: Omit<Call, 'expected'>, idempotencyKey: string | undefined): Promise<RequestInit> {
    const headers: Record<string, string> = {
      'x-api-key': this.#apiKey,
      accept: 'application/json',
      'user-agent': `clinikapi-sdk-js/${VERSION}`,
    };
    // Made once, so that it is the same over all attempts.
    if (call.method === 'POST') headers['idempotency-key'] = idempotencyKey ?? randomUUID();
    if (call.body === undefined) return { method: call.method, headers };
    const body = new TextEncoder().encode(JSON.stringify(call.body));
    const compressed = body.byteLength < MIN_GZIP_BODY ? body : new Uint8Array(await promisify(gzip)(body));
    if (compressed.byteLength >= body.byteLength) {
      return { method: call.method, headers: { ...headers, 'content-type': 'application/json' }, body };
    }
    // The gateway hands `application/json` over as text, which would destroy it.
    const types = { 'content-type': 'application/fhir+json', 'content-encoding': 'gzip' };
    return { method: call.method, headers: { ...headers, ...types }, body: compressed };
  }
}

/** Whether a value shows a secret when it is printed, however deep. What cannot be printed is not to be trusted. */
function shows(value: unknown, secrets: readonly string[]): boolean {
  try {
    const text = inspect(value, { depth: 10, showHidden: true, maxStringLength: null, maxArrayLength: null });
    return secrets.some((secret) => secret !== '' && text.includes(secret));
  } catch {
    return true;
  }
}

/** In place of an answer that was lost, where an error says what it was. */
export function metaOfError(error: ClinikApiError, status: number): ApiResponse<unknown>['meta'] {
  return { requestId: error.requestId ?? '', timestamp: new Date().toISOString(), status };
}
