import { gunzipSync } from 'node:zlib';
import type { Reply } from './http.js';

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

/** One rule of many: a record needs a `lastName`. */
export function violation(line: string): { code: string; path?: string; message: string } | undefined {
  try {
    if (JSON.parse(line).lastName !== undefined) return undefined;
    return { code: 'required', path: '/lastName', message: 'lastName: Required' };
  } catch {
    return { code: 'invalid_json', message: 'Invalid JSON' };
  }
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
