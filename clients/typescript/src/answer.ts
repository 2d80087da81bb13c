import { type ClinikApiError, errorOfStatus, type Issue } from './errors.js';
import { parseRetryAfter } from './retry.js';
import type { ResponseMeta } from './types.js';

/** The body of an answer as JSON, or `undefined` if it is none. */
export async function readJson(response: Response): Promise<unknown> {
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
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
  const present = Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined));
  return {
    requestId: response.headers.get('x-request-id') ?? '',
    timestamp: response.headers.get('x-timestamp') ?? new Date().toISOString(),
    status: response.status,
    ...present,
    ...(typeof meta === 'object' ? meta : undefined),
  };
}

/**
 * The error that an answer stands for: the service's own where the body is one, else what the status says. Text that is
 * not the service's JSON is never shown. The key is removed, should an answer ever repeat it.
 */
export async function answerError(name: string, response: Response, apiKey: string): Promise<ClinikApiError> {
  const clean = (text: string): string => text.replaceAll(apiKey, '[key]');
  const body = ((await readJson(response)) ?? {}) as Record<string, unknown>;
  const string = (value: unknown): string | undefined =>
    typeof value === 'string' && value !== '' ? clean(value) : undefined;
  const { status } = response;
  const redirect = status >= 300 && status < 400 ? ': an unexpected redirect, which is not followed' : '';
  return errorOfStatus({
    status,
    code: string(body.code) ?? 'API_ERROR',
    message: string(body.message) ?? string(body.error) ?? `${name} was answered with ${status}${redirect}`,
    issues: parseIssues(body.issues ?? body.issue, clean),
    requestId: string(body.requestId) ?? response.headers.get('x-request-id') ?? undefined,
    retryAfter: parseRetryAfter(response.headers),
  });
}

function parseIssues(issues: unknown, clean: (text: string) => string): Issue[] | undefined {
  return Array.isArray(issues) ? (JSON.parse(clean(JSON.stringify(issues))) as Issue[]) : undefined;
}
