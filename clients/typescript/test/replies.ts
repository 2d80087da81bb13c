import { gunzipSync } from 'node:zlib';
import type { Recorded, Reply } from './http.js';

export const LIMITS = {
  tenantId: 'tenant_1',
  plan: 'pro',
  environment: 'test',
  bulkOperations: { limit: 5, remaining: 4, resetSeconds: 3600 },
  requestsPerMinute: { limit: 1000, remaining: 999, resetSeconds: 60 },
  requestsPerMonth: { limit: null, used: 12, remaining: null, resetAt: '2026-02-01T00:00:00Z' },
  batch: { maxRecords: 10_000, maxBodyBytes: 4_500_000, maxUploadBytes: 104_857_600 },
};

/** What was uploaded, plain or gzip. */
export function inflate(content: Buffer): Buffer {
  return content[0] === 0x1f && content[1] === 0x8b ? gunzipSync(content) : content;
}

/** Whether the gateway has handed a body over as text that was none. */
export function isDestroyed({ headers }: Recorded): boolean {
  return headers['content-encoding'] !== undefined && headers['content-type'] !== 'application/fhir+json';
}

/** The body of a call, which may be compressed. */
export function bodyOf(request: Recorded | undefined): string {
  const { headers, body } = request ?? { headers: {}, body: Buffer.of() };
  return (headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body).toString();
}

/** One rule of many: a record needs a `lastName`. */
export function violation(line: string): { code: string; path?: string; message: string } | undefined {
  try {
    if (JSON.parse(line).lastName !== undefined) return undefined;
    return { code: 'required', path: '/lastName', message: 'lastName: Required' };
  } catch {
    return { code: 'invalid_json', message: 'Invalid JSON' };
  }
}

/** Of the valid lines of a batch with the same id the first one wins. */
export function duplicate(line: string, number: number, ids: Map<string, number>): ReturnType<typeof violation> {
  const { id } = JSON.parse(line);
  const first = ids.get(id);
  if (first !== undefined) return { code: 'duplicate_id', path: '/id', message: `id: Same as in line ${first}` };
  if (id !== undefined) ids.set(id, number);
  return undefined;
}

export function success(status: number, data: unknown, remaining = 999, reset = 60): Reply {
  const meta = { requestId: 'req_body', timestamp: '2026-01-15T09:15:00.000Z', status };
  const limits = { rateLimitTotal: 1000, rateLimitRemaining: remaining, rateLimitReset: reset };
  return { status, headers: { 'x-request-id': 'req_header' }, json: { data, meta: { ...meta, ...limits } } };
}

export function failure(status: number, code: string, message: string, retryAfter?: number | string): Reply {
  return {
    status,
    headers: retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) },
    json: { error: 'Error', message, code, requestId: 'req_failed' },
  };
}

/** 422 with one issue, as the service says it. */
export function invalid(diagnostics: string): Reply {
  const reply = failure(422, 'VALIDATION_ERROR', diagnostics);
  const issues = [{ severity: 'error', code: 'invalid', diagnostics }];
  return { ...reply, json: { ...(reply.json as object), issues, issue: issues } };
}
