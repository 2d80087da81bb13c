import { ClinikApiError, errorOfStatus, type Issue } from './errors.js';
import { parseRetryAfter } from './retry.js';
import { type Check, isObject } from './shapes.js';
import type { ApiResponse, ResponseMeta } from './types.js';

/** The body of an answer as JSON, or `undefined` if it is none. */
export async function readJson(response: Response): Promise<unknown> {
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** What a call is answered with: `data` that has what it must have, or nothing, as a deletion is. */
export type Expected = Check | 'nothing';

/** A success of the API. Anything else under its address is somebody else's, such as the page of a proxy. */
export async function readAnswer<T>(name: string, response: Response, expected: Expected): Promise<ApiResponse<T>> {
  if (expected === 'nothing') {
    await response.body?.cancel();
    if (response.status !== 204 || !isOfApi(response)) throw notTheApi(name, response.status);
    return { data: undefined as T, meta: parseMeta(undefined, response) };
  }
  const body = await readJson(response);
  if (!isObject(body) || !isObject(body.data) || !expected(body.data)) throw notTheApi(name, response.status);
  return { data: body.data as T, meta: parseMeta(body.meta, response) };
}

/** Whether an answer without a body is the API's: all of its answers have an id of its own form. */
export function isOfApi(response: Response): boolean {
  return /^req_/.test(response.headers.get('x-request-id') ?? '');
}

/** The error of a success that is not the API's. */
export function notTheApi(name: string, status: number): ClinikApiError {
  return new ClinikApiError({
    status,
    code: 'INVALID_RESPONSE',
    message: `${name}: the answer is not the API's; check the base URL, and proxies on the way`,
  });
}

/** `meta` of the body where it has one, else from the headers. */
export function parseMeta(meta: unknown, response: Response): ResponseMeta {
  const number = (name: string): number | undefined => {
    const text = response.headers.get(name);
    return text !== null && /^\d+$/.test(text) ? Number(text) : undefined;
  };
  const limits = {
    rateLimitTotal: number('x-ratelimit-limit'),
    rateLimitRemaining: number('x-ratelimit-remaining'),
    rateLimitReset: number('x-ratelimit-reset'),
  };
  const { warnings, ...known } = isObject(meta) ? meta : {};
  const present = Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined));
  return {
    requestId: response.headers.get('x-request-id') ?? '',
    timestamp: response.headers.get('x-timestamp') ?? new Date().toISOString(),
    status: response.status,
    ...present,
    ...known,
    ...(areTexts(warnings) && { warnings }),
  };
}

function areTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'string');
}

/**
 * The error that an answer stands for: the service's own where the body is one, with a code and a request id, else what
 * the status says. Text that is not JSON is never shown. The key is removed, should an answer ever repeat it.
 */
export async function answerError(name: string, response: Response, apiKey: string): Promise<ClinikApiError> {
  const clean = (text: string): string => text.replaceAll(apiKey, '[key]');
  const body = ((await readJson(response)) ?? {}) as Record<string, unknown>;
  const string = (value: unknown): string | undefined =>
    typeof value === 'string' && value !== '' ? clean(value) : undefined;
  const { status } = response;
  const code = string(body.requestId) === undefined ? undefined : string(body.code);
  const redirect = status >= 300 && status < 400 ? ': an unexpected redirect, which is not followed' : '';
  return errorOfStatus({
    status,
    code: code ?? 'API_ERROR',
    message: string(body.message) ?? string(body.error) ?? `${name} was answered with ${status}${redirect}`,
    issues: parseIssues(body.issues ?? body.issue, clean),
    requestId: string(body.requestId) ?? response.headers.get('x-request-id') ?? undefined,
    retryAfter: parseRetryAfter(response.headers),
  });
}

function parseIssues(issues: unknown, clean: (text: string) => string): Issue[] | undefined {
  return Array.isArray(issues) ? (JSON.parse(clean(JSON.stringify(issues))) as Issue[]) : undefined;
}
