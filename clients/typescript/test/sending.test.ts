import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { inspect } from 'node:util';
import { failure, invalid, type Service, success } from './service.js';
import { services } from './services.js';

const POST = 'POST /v1/bulk/import';
const UPLOADS = 'POST /v1/bulk/uploads';
/** Enough for an upload, and without ids: sent twice, they would be stored twice. */
const data = [1, 2].map((n) => ({ lastName: `Doe ${n}`, note: 'x'.repeat(1_600_000) }));
const request = { resourceType: 'Patient', data } as const;
const KEY = { idempotencyKey: 'night' };

describe('one import is one job', { concurrency: true }, () => {
  const start = services();
  const storedOnce = (service: Service) => assert.deepEqual([...service.writes.values()], [1, 1]);
  const keys = (service: Service) => service.api.received(POST).map(({ headers }) => headers['idempotency-key']);
  const importAll = async (service: Service, options = {}) => {
    const ids: string[] = [];
    const all = { resourceType: 'Patient', records: data } as const;
    for await (const job of service.client({ retries: 0 }).bulk.importAll(all, options)) ids.push(job.id);
    return ids;
  };
  /** The upload of a request has expired when it is imported. */
  const expire = (service: Service) => () => {
    const upload = [...service.uploads.values()].at(-1);
    if (upload !== undefined) upload.isExpired = true;
    return undefined as never;
  };

  test('a lost answer, limits and outages lead importAll to no second job', async () => {
    const service = await start();
    service.api.lose(POST, { refuse: true });
    service.api.next(POST, failure(503, 'UNAVAILABLE', 'Unavailable'), failure(429, 'RATE_LIMITED', 'Limit', 1));
    assert.equal((await importAll(service)).length, 1);
    storedOnce(service);
    assert.equal(service.uploads.size, 1);
    assert.equal(keys(service).length, 4);
    assert.equal(new Set(keys(service)).size, 1);
  });

  test('the job that has used the upload is the batch’s job', async () => {
    for (const run of [
      (service: Service) => importAll(service),
      async (service: Service) => [(await service.client().bulk.import(request)).data.jobId],
    ]) {
      const service = await start();
      service.api.lose(POST, { refuse: true });
      // And the service has forgotten the key since.
      service.api.next(POST, () => {
        service.forgetKeys();
        return undefined as never;
      });
      const ids = await run(service);
      assert.deepEqual(ids, [...service.jobs.keys()]);
      storedOnce(service);
    }
  });

  test('an upload that has expired is made anew, with a new key', async () => {
    const service = await start();
    service.api.next(POST, expire(service), expire(service));
    assert.equal((await importAll(service)).length, 1);
    storedOnce(service);
    assert.equal(service.uploads.size, 3);
    assert.equal(new Set(keys(service)).size, 3);
  });

  test('at most three uploads a batch, and two a call', async () => {
    const service = await start();
    service.api.next(POST, ...Array.from({ length: 9 }, () => expire(service)));
    await assert.rejects(importAll(service), { name: 'ClinikValidationError', message: 'uploadId: Expired' });
    assert.equal(service.uploads.size, 3);
    await assert.rejects(service.client().bulk.import(request), { message: 'uploadId: Expired' });
    assert.equal(service.uploads.size, 5);
    assert.equal(service.writes.size, 0);
  });

  test('a key of the caller is kept where the upload has expired', async () => {
    const service = await start();
    service.api.next(POST, expire(service));
    await importAll(service, KEY);
    assert.deepEqual(keys(service), ['night-0', 'night-0']);
    storedOnce(service);
  });

  test('an upload that is not known proves nothing: nothing is sent again', async () => {
    for (const diagnostics of ['uploadId: Unknown upload', 'uploadId: Nothing has been uploaded', 'uploadId: Used']) {
      const service = await start();
      service.api.lose(POST, { refuse: true });
      service.api.next(POST, invalid(diagnostics));
      await assert.rejects(importAll(service), { name: 'ClinikValidationError', message: diagnostics });
      assert.equal(service.uploads.size, 1);
      storedOnce(service);
    }
  });

  test('a call that is repeated with its key and its records finds its job, also after an error', async () => {
    const service = await start();
    const { bulk } = service.client({ retries: 0 });
    service.api.lose(POST, { refuse: true });
    await assert.rejects(bulk.import(request, KEY), { code: 'NETWORK_ERROR' });
    const first = await bulk.import(request, KEY);
    const second = await bulk.import(request, KEY);
    assert.equal(first.data.jobId, second.data.jobId);
    assert.equal(service.uploads.size, 1);
    storedOnce(service);
  });

  test('a key that is used for other records, or by another client, is a conflict that says what to do', async () => {
    const service = await start();
    const { bulk } = service.client();
    const { data: started } = await bulk.import(request, KEY);
    const other = { ...request, data: [...data, { lastName: 'Roe' }] };
    for (const run of [() => bulk.import(other, KEY), () => service.client().bulk.import(request, KEY)]) {
      await assert.rejects(run(), (error: Error) => {
        assert.match(error.message, /has started a job already.*bulk\.listJobs/);
        assert.doesNotMatch(inspect(error), /night/);
        const { status, code, requestId } = error as never as Record<string, unknown>;
        assert.deepEqual([status, code, requestId], [409, 'IDEMPOTENCY_CONFLICT', 'req_failed']);
        return true;
      });
    }
    assert.equal((await bulk.import(request, KEY)).data.jobId, started.jobId);
    storedOnce(service);
  });

  test('an upload that is remembered and has expired is made anew', async () => {
    const service = await start();
    const { bulk } = service.client({ retries: 0 });
    service.api.next(POST, failure(503, 'UNAVAILABLE', 'Unavailable'));
    await assert.rejects(bulk.import(request, KEY), { code: 'UNAVAILABLE' });
    service.api.next(POST, expire(service));
    const { data: started } = await bulk.import(request, KEY);
    assert.equal((await bulk.import(request, KEY)).data.jobId, started.jobId);
    assert.equal(service.uploads.size, 2);
    storedOnce(service);
  });

  test('records in the call are not sent again after a day, when the service has forgotten the key', async (context) => {
    const service = await start();
    const real = Date.now;
    service.api.lose(POST, { refuse: true });
    const onBatch = () => context.mock.method(Date, 'now', () => real() + 24 * 3_600_000);
    const small = { resourceType: 'Patient', records: [{ lastName: 'Doe' }], onBatch } as const;
    const jobs = service.client().bulk.importAll(small);
    await assert.rejects(
      async () => {
        for await (const _ of jobs);
      },
      { code: 'IDEMPOTENCY_EXPIRED', message: /bulk\.listJobs/ },
    );
    context.mock.restoreAll();
    assert.equal(service.api.received(POST).length, 1);
  });

  test('a refused upload is made anew by importAll, three times at most', async () => {
    const refused = { status: 403, body: '<Error><Code>AccessDenied</Code><Message>Jane</Message></Error>' };
    const service = await start();
    service.store.next('PUT', refused, refused);
    await importAll(service);
    storedOnce(service);
    assert.equal(service.uploads.size, 3);

    service.store.next('PUT', refused, refused, refused, refused);
    await assert.rejects(importAll(service), (error: Error) => {
      assert.match(error.message, /answered with 403 \(AccessDenied\)/);
      assert.doesNotMatch(inspect(error), /Jane|Signature/);
      return true;
    });
    assert.equal(service.uploads.size, 6);
  });

  test('any other refusal of the store ends it, and no more than its code is told', async () => {
    for (const [body, told] of [
      ['<Error><Code>EntityTooSmall</Code></Error>', '400 (EntityTooSmall);'],
      ['<Error><Code>Jane Doe</Code></Error>', '400;'],
      [`${' '.repeat(5_000)}<Code>TooLate</Code>`, '400;'],
      ['', '400;'],
    ] as const) {
      const service = await start();
      service.store.next('PUT', { status: 400, body });
      await assert.rejects(importAll(service), (error: Error) => error.message.includes(told));
      assert.equal(service.store.requests.length, 1);
    }
  });

  test('an upload under https goes nowhere without', async () => {
    const seen: string[] = [];
    const fetch = async (input: unknown) => {
      seen.push(String(input));
      const upload = { uploadId: 'upl_1', uploadUrl: 'http://127.0.0.1:1/x', expiresAt: '', maxBytes: 1 };
      return Response.json((success(201, upload).json as object) ?? {}, { status: 201 });
    };
    const service = await start();
    const { bulk } = service.client({ fetch, baseUrl: 'https://127.0.0.1:1' });
    await assert.rejects(bulk.upload(Buffer.from('{}')), { code: 'INVALID_RESPONSE', message: /safe URL/ });
    assert.deepEqual(seen, [`https://127.0.0.1:1${UPLOADS.slice(5)}`]);
  });
});
