import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import type { ClinikApiError } from '../src/index.js';
import { failure, type Service } from './service.js';
import { services } from './services.js';

const JOB = 'GET /v1/bulk/jobs/job_1';
const IMPORT = { resourceType: 'Patient', data: '{"lastName":"Doe"}' } as const;
const POST = 'POST /v1/bulk/import';

describe('retries', { concurrency: true }, () => {
  const start = services();

  for (const [name, reply] of Object.entries({
    'a connection that breaks': { refuse: true },
    'a 408': { status: 408, body: 'too slow' },
    'a 500 of the service': failure(500, 'INTERNAL_ERROR', 'Internal error'),
    'a 502 in HTML': { status: 502, body: '<html><body>Bad Gateway</body></html>' },
    'a 503 of the gateway': { status: 503, json: { message: 'Service Unavailable' } },
    'a 429 of the gateway': { status: 429, json: { message: 'Too Many Requests' } },
    'an answer that breaks off': { status: 202, json: { data: {} }, cutAfter: 4 },
  })) {
    test(`${name} is retried with the same idempotency key`, async () => {
      const service = await start();
      service.api.next(POST, reply, reply);
      const { data } = await service.client().bulk.import(IMPORT);
      assert.match(data.jobId, /^job_/);
      const keys = service.api.received(POST).map(({ headers }) => headers['idempotency-key']);
      assert.equal(keys.length, 3);
      assert.match(String(keys[0]), /^[0-9a-f-]{36}$/);
      assert.equal(new Set(keys).size, 1);
    });
  }

  test('two calls have two idempotency keys', async () => {
    const service = await start();
    await service.client().bulk.import(IMPORT);
    await service.client().bulk.import(IMPORT);
    assert.equal(new Set(service.api.requests.map(({ headers }) => headers['idempotency-key'])).size, 2);
  });

  test('every POST has an idempotency key, and no GET', async () => {
    const service = await start();
    const { bulk } = service.client();
    const { data } = await bulk.import(IMPORT);
    await bulk.export({ resourceTypes: ['Patient'] });
    await bulk.validate(IMPORT);
    await bulk.createUpload({ bytes: 5 });
    await bulk.cancelJob(data.jobId);
    await bulk.getJob(data.jobId);
    for (const { method, headers } of service.api.requests) {
      assert.equal(headers['idempotency-key'] !== undefined, method === 'POST');
    }
    assert.equal(service.api.requests.length, 6);
  });

  test('an idempotency key of the caller is sent as it is', async () => {
    const service = await start();
    const options = { idempotencyKey: 'night-of-2026-01-15' };
    const first = await service.client().bulk.import(IMPORT, options);
    const second = await service.client().bulk.import(IMPORT, options);
    assert.equal(first.data.jobId, second.data.jobId);
    await assert.rejects(service.client().bulk.import({ ...IMPORT, data: '{"lastName":"Roe"}' }, options), {
      status: 409,
      code: 'IDEMPOTENCY_CONFLICT',
    });
  });

  test('an idempotency key that no header can carry is refused', async () => {
    const service = await start();
    await assert.rejects(service.client().bulk.import(IMPORT, { idempotencyKey: 'a\nb' }), TypeError);
    assert.equal(service.api.requests.length, 0);
  });

  test('the last error is thrown when no retry is left', async () => {
    const service = await start();
    const reply = failure(503, 'UNAVAILABLE', 'Unavailable');
    service.api.next(POST, reply, reply, reply);
    const failed = service.client().bulk.import(IMPORT);
    await assert.rejects(failed, { name: 'ClinikApiError', status: 503, code: 'UNAVAILABLE', requestId: 'req_failed' });
    assert.equal(service.api.requests.length, 3);
  });

  test('retries: 0 makes one attempt', async () => {
    const service = await start();
    service.api.next(POST, failure(503, 'UNAVAILABLE', 'Unavailable'));
    await assert.rejects(service.client({ retries: 0 }).bulk.import(IMPORT), { status: 503 });
    service.api.next(POST, failure(503, 'UNAVAILABLE', 'Unavailable'));
    await assert.rejects(service.client().bulk.import(IMPORT, { retries: 0 }), { status: 503 });
    assert.equal(service.api.requests.length, 2);
  });

  test('a Retry-After of 5 s is waited for', async () => {
    const service = await start();
    service.api.next(POST, failure(429, 'RATE_LIMITED', 'Too many requests', 5));
    await service.client().bulk.import(IMPORT);
    const [first, second] = service.api.requests;
    const waited = (second?.at ?? 0) - (first?.at ?? 0);
    assert.ok(waited >= 4_900 && waited < 20_000, `${waited} ms`);
  });

  test('a Retry-After that is a date is read by the clock of the server', async () => {
    const service = await start();
    // Both in the past of this machine: the distance counts.
    const dates = { date: 'Thu, 15 Jan 2015 09:15:00 GMT', 'retry-after': 'Thu, 15 Jan 2015 09:15:02 GMT' };
    service.api.next(POST, { ...failure(503, 'UNAVAILABLE', 'Unavailable'), headers: dates });
    await service.client().bulk.import(IMPORT);
    const [first, second] = service.api.requests;
    const waited = (second?.at ?? 0) - (first?.at ?? 0);
    assert.ok(waited >= 1_900 && waited < 15_000, `${waited} ms`);
  });

  test('a Retry-After of an hour is told, not waited for', async () => {
    const service = await start();
    service.api.next(POST, failure(429, 'RATE_LIMITED', 'Hourly bulk operation limit reached', 3600));
    const failed = service.client().bulk.import(IMPORT);
    await assert.rejects(failed, {
      name: 'ClinikRateLimitError',
      status: 429,
      code: 'RATE_LIMITED',
      retryAfter: 3600,
      requestId: 'req_failed',
    });
    service.api.next(POST, failure(503, 'UNAVAILABLE', 'Unavailable', 3600));
    await assert.rejects(service.client().bulk.import(IMPORT), { status: 503, retryAfter: 3600 });
    assert.equal(service.api.requests.length, 2);
  });

  for (const code of ['MONTHLY_QUOTA_EXCEEDED', 'SANDBOX_QUOTA_EXCEEDED']) {
    test(`${code} is never retried`, async () => {
      const service = await start();
      service.api.next(POST, failure(429, code, 'Monthly request quota exceeded', 1));
      await assert.rejects(service.client().bulk.import(IMPORT), { name: 'ClinikRateLimitError', code });
      assert.equal(service.api.requests.length, 1);
    });
  }

  for (const [status, name, code] of [
    [400, 'ClinikApiError', 'INVALID_JSON'],
    [401, 'ClinikAuthError', 'KEY_REVOKED'],
    [403, 'ClinikApiError', 'INSUFFICIENT_SCOPE'],
    [404, 'ClinikNotFoundError', 'NOT_FOUND'],
    [409, 'ClinikApiError', 'JOB_NOT_FINISHED'],
    [413, 'ClinikApiError', 'PAYLOAD_TOO_LARGE'],
    [415, 'ClinikApiError', 'UNSUPPORTED_MEDIA_TYPE'],
    [422, 'ClinikValidationError', 'VALIDATION_ERROR'],
  ] as const) {
    test(`a ${status} is not retried; it is a ${name} with the service's code`, async () => {
      const service = await start();
      const issues = [{ severity: 'error', code: 'invalid', diagnostics: 'data: Required' }];
      const reply = failure(status, code, 'data: Required');
      service.api.next(JOB, { ...reply, json: { ...(reply.json as object), issues, issue: issues } });
      await assert.rejects(service.client().bulk.getJob('job_1'), {
        ...{ name, status, code, issues, message: 'data: Required', requestId: 'req_failed' },
      });
      assert.equal(service.api.requests.length, 1);
    });
  }

  test('HTML in place of JSON is an error that shows none of it', async () => {
    const service = await start();
    const html = '<html>Sign in, Jane Doe</html>';
    service.api.next(JOB, { status: 200, body: html });
    await assert.rejects(service.client().bulk.getJob('job_1'), (error: ClinikApiError) => {
      assert.equal(error.code, 'INVALID_RESPONSE');
      assert.equal(error.status, 200);
      assert.doesNotMatch(String(error.stack), /html|Jane/);
      return true;
    });
    service.api.next(JOB, { status: 403, body: html });
    await assert.rejects(service.client().bulk.getJob('job_1'), (error: ClinikApiError) => {
      assert.equal(error.code, 'API_ERROR');
      assert.doesNotMatch(String(error.stack), /html|Jane/);
      return true;
    });
    assert.equal(service.api.requests.length, 2);
  });

  test('a network that hangs ends with a time-out, after the retries', async () => {
    const service = await start();
    service.api.next(JOB, { hang: true }, { hang: true });
    const failed = service.client().bulk.getJob('job_1', { timeout: 1_000, retries: 1 });
    await assert.rejects(failed, { name: 'ClinikTimeoutError', code: 'REQUEST_TIMEOUT', status: 0 });
    assert.equal(service.api.requests.length, 2);
  });

  test('a body that hangs ends with a time-out', async () => {
    const service = await start();
    service.api.next(JOB, { json: { data: {} }, stallAfter: 3 });
    await assert.rejects(service.client().bulk.getJob('job_1', { timeout: 200, retries: 0 }), {
      code: 'REQUEST_TIMEOUT',
    });
  });

  test('a fetch that ignores its signal ends with a time-out', async () => {
    const service = await start();
    const fetch = () => new Promise<Response>(() => undefined);
    await assert.rejects(service.client({ fetch, timeout: 100, retries: 0 }).bulk.getJob('job_1'), {
      code: 'REQUEST_TIMEOUT',
    });
  });

  test('a DELETE whose first answer was lost succeeds', async () => {
    const service = await start();
    const notFound = failure(404, 'NOT_FOUND', 'Not found');
    const id = service.addJob('export', {});
    const call = `DELETE /v1/bulk/jobs/${id}`;
    const { deleteJob } = service.client().bulk;
    service.api.next(call, { refuse: true }, notFound);
    const { data, meta } = await deleteJob(id);
    assert.equal(data, undefined);
    assert.equal(meta.status, 204);
    // That a proxy does not find it says nothing of the job, and a limit proves that nothing was done.
    service.api.next(call, { refuse: true }, { status: 404, body: '<html>Not found</html>' });
    await assert.rejects(deleteJob(id), { status: 404, code: 'API_ERROR' });
    service.api.next(call, failure(429, 'RATE_LIMITED', 'Later', 0), notFound);
    await assert.rejects(deleteJob(id), { name: 'ClinikNotFoundError' });
    // Another tenant's job was never this key's to delete.
    service.api.next('DELETE /v1/bulk/jobs/job_1', { refuse: true });
    await assert.rejects(deleteJob('job_1'), { name: 'ClinikNotFoundError' });
    assert.equal(service.api.received('DELETE /v1/bulk/jobs/job_1').length, 0);
  });

  describe('an aborted signal', () => {
    let service: Service;
    before(async () => {
      service = await start();
    });

    test('before the call sends nothing', async () => {
      const reason = new Error('changed my mind');
      const signal = AbortSignal.abort(reason);
      await assert.rejects(service.client().bulk.getJob('job_1', { signal }), reason);
      assert.equal(service.api.received(JOB).length, 0);
    });

    test('during the call ends it at once', async () => {
      const controller = new AbortController();
      service.api.next(JOB, () => {
        controller.abort();
        return { hang: true };
      });
      const failed = service.client().bulk.getJob('job_1', { signal: controller.signal });
      await assert.rejects(failed, { name: 'AbortError' });
      assert.equal(service.api.received(JOB).length, 1);
    });

    test('between two attempts ends the wait', async () => {
      const started = performance.now();
      service.api.next(POST, failure(429, 'RATE_LIMITED', 'Too many requests', 30));
      const controller = new AbortController();
      setTimeout(() => controller.abort(), 200);
      await assert.rejects(service.client().bulk.import(IMPORT, { signal: controller.signal }), { name: 'AbortError' });
      assert.ok(performance.now() - started < 20_000);
    });
  });
});
