import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Bulk, ImportBatch } from '../src/index.js';
import type { Reply } from './http.js';
import { failure, success } from './service.js';
import { services } from './services.js';

const PATIENT = { resourceType: 'Patient', data: '{"lastName":"Doe"}' } as const;
const POST = 'POST /v1/bulk/import';
const HTML = '<html>Sign in</html>';

/** What stands in the place of an answer of the API, and is none. */
const FOREIGN: Record<string, Reply> = {
  'an empty success': { status: 204 },
  'an empty success with an id of somebody else': { status: 204, headers: { 'x-request-id': '5f0c' } },
  'a page': { body: HTML },
  'JSON of somebody else': { json: { status: 'ok' } },
  'data that lacks everything': success(200, {}),
  'data that is a list': success(200, []),
  'a page of a proxy that wants a login': { status: 401, body: HTML },
  'a proxy that refuses, in JSON': { status: 403, json: { code: 'BLOCKED', message: 'Blocked' } },
  'a proxy that wants to know who asks': { status: 407, body: HTML },
  'a redirect to a login': { status: 302, headers: { location: 'https://127.0.0.1:1/login' } },
};

/** What is a success of the HTTP, and no answer of the API. */
const SUCCESSES = Object.entries(FOREIGN).filter(([, { status = 200 }]) => status < 300);

describe('an answer that is not the API’s', { concurrency: true }, () => {
  const start = services();

  const calls: Record<string, [match: string, call: (bulk: Bulk, id: string) => Promise<unknown>]> = {
    import: [POST, (bulk) => bulk.import(PATIENT)],
    export: ['POST /v1/bulk/export', (bulk) => bulk.export({ resourceTypes: ['Patient'] })],
    getJob: ['GET', (bulk, id) => bulk.getJob(id)],
    listJobs: ['GET', (bulk) => bulk.listJobs()],
    cancelJob: ['POST', (bulk, id) => bulk.cancelJob(id)],
    deleteJob: ['DELETE', (bulk, id) => bulk.deleteJob(id)],
    validate: ['POST', (bulk) => bulk.validate(PATIENT)],
    createUpload: ['POST', (bulk) => bulk.createUpload({ bytes: 5 })],
    getLimits: ['GET', (bulk) => bulk.getLimits()],
  };
  for (const [name, [match, call]] of Object.entries(calls)) {
    test(`is no success of ${name}`, async () => {
      const service = await start();
      const id = service.addJob('import', {});
      for (const [kind, reply] of SUCCESSES) {
        service.api.next(match, reply);
        await assert.rejects(
          call(service.client().bulk, id),
          { name: 'ClinikApiError', status: reply.status ?? 200, code: 'INVALID_RESPONSE' },
          kind,
        );
      }
      await call(service.client().bulk, id);
    });
  }

  test('lacks a member that the client goes on with', async () => {
    const service = await start();
    const id = service.addJob('export', { 'A.ndjson': '{}\n' });
    const { bulk } = service.client();
    const job = service.jobs.get(id)?.job ?? {};
    const [file] = service.jobs.get(id)?.job.files ?? [];
    for (const wrong of [
      { ...job, id: undefined },
      { ...job, type: 'other' },
      { ...job, status: 'done' },
      { ...job, totalRecords: '1' },
      { ...job, errors: undefined },
      { ...job, files: {} },
      { ...job, files: [{ ...file, name: '../x' }] },
      { ...job, files: [{ ...file, sha256: undefined }] },
    ]) {
      service.api.next('GET', success(200, wrong));
      await assert.rejects(bulk.getJob(id), { code: 'INVALID_RESPONSE' }, JSON.stringify(wrong));
    }
    for (const jobId of [undefined, '', '../x', 7]) {
      service.api.next(POST, success(202, { jobId, status: 'pending', message: 'Job started' }));
      await assert.rejects(bulk.import(PATIENT), { code: 'INVALID_RESPONSE' });
    }
  });

  test('does not say which files a completed job has', async () => {
    const service = await start();
    const { bulk } = service.client();
    const id = service.addJob('export', {}, { totalRecords: 0 });
    const { files: _, ...job } = service.jobs.get(id)?.job ?? {};
    const calls: Record<string, () => Promise<unknown>> = {
      getJob: () => bulk.getJob(id),
      download: () => bulk.download(id),
      hashes: () => bulk.download(id, 'SHA256SUMS'),
      records: () => drain(bulk.records(id)),
      lines: () => drain(bulk.lines(id)),
      deleted: () => drain(bulk.deleted(id)),
    };
    for (const [name, call] of Object.entries(calls)) {
      service.api.next('GET', success(200, job));
      await assert.rejects(call(), { code: 'INVALID_RESPONSE' }, name);
      // With a link, but without what verifies what is behind it.
      service.api.next('GET', success(200, { ...job, downloadUrl: 'https://example.com/x' }));
      if (name === 'getJob') await call();
      else await assert.rejects(call(), { code: 'INVALID_RESPONSE', message: /which files/ }, name);
    }
    service.api.next('GET', success(200, job));
    assert.deepEqual((await bulk.waitForJob(id)).data.files, []);
    assert.equal(service.api.received(`GET /v1/bulk/jobs/${id}`).length, 2 * 6 + 2);
    // An export of files per type that has no records has none, and an import is not asked.
    await drain(bulk.records(id));
    const importId = service.addJob('import', {});
    const { files: __, ...imported } = service.jobs.get(importId)?.job ?? {};
    service.api.next('GET', success(200, imported));
    await bulk.getJob(importId);
    service.api.next('GET', success(200, imported));
    await assert.rejects(drain(bulk.rejected(importId)), { code: 'INVALID_RESPONSE' });
  });

  for (const [kind, reply] of Object.entries(FOREIGN)) {
    test(`is waited out at a poll: ${kind}`, async () => {
      const service = await start();
      const id = service.addJob('import', {});
      service.api.next(`GET /v1/bulk/jobs/${id}`, reply);
      const { data: job } = await service.client({ retries: 0 }).bulk.waitForJob(id);
      assert.equal(job.status, 'completed');
    });

    test(`is waited out by importAll, in the call and by upload: ${kind}`, async () => {
      for (const note of ['', 'x'.repeat(3_000_000)]) {
        const service = await start();
        // The start is done, and its answer lost.
        service.api.lose(POST, reply);
        service.api.next('GET', reply);
        service.api.next('POST /v1/bulk/uploads', reply);
        if ((reply.status ?? 200) < 300) service.store.next('PUT', reply);
        const records = [{ lastName: 'Doe', note }];
        let count = 0;
        for await (const job of service.client({ retries: 0 }).bulk.importAll({ resourceType: 'Patient', records })) {
          assert.equal(job.status, 'completed');
          count++;
        }
        assert.equal(count, 1);
        assert.deepEqual([...service.writes.values()], [1]);
      }
    });

    test(`is waited out by a download, and never followed: ${kind}`, async () => {
      const service = await start();
      const content = '{"n":1}\n'.repeat(10_000);
      const id = service.addJob('export', { 'A.ndjson': content });
      const elsewhere = await start();
      const location = `${elsewhere.api.origin}/login`;
      const own = reply.status === 302 ? { ...reply, headers: { location } } : reply;
      service.store.next('GET', { body: content, cutAfter: 10 });
      // The first link is the API's, the second one is not; nor is what the store then answers with.
      service.api.next('GET /A.ndjson', () => undefined as never, own);
      if (reply.status === 204) service.store.next('GET', () => undefined as never, own);
      let text = '';
      for await (const chunk of await service.client().bulk.download(id)) text += Buffer.from(chunk).toString();
      assert.equal(text, content);
      assert.equal(elsewhere.api.requests.length, 0);
    });
  }

  test('is not the list of hashes: that is made of what the job says', async () => {
    const service = await start();
    const id = service.addJob('export', { 'A.ndjson': '{}\n', 'B.ndjson': '' });
    for (const [kind, reply] of Object.entries(FOREIGN)) {
      service.api.next('GET /SHA256SUMS', reply);
      const text = await new Response(await service.client().bulk.download(id, 'SHA256SUMS')).text();
      const [a, b] = service.jobs.get(id)?.job.files ?? [];
      assert.equal(text, `${a?.sha256}  A.ndjson\n${b?.sha256}  B.ndjson\n`, kind);
    }
  });

  test('is one of another job, or of a job of another type', async () => {
    const service = await start();
    const [one, other] = [service.addJob('import', {}), service.addJob('import', {}, { totalRecords: 7 })];
    const { bulk } = service.client();
    const answer = success(200, service.jobs.get(other)?.job);
    for (const [match, call] of [
      [`GET /v1/bulk/jobs/${one}`, () => bulk.getJob(one)],
      [`POST /v1/bulk/jobs/${one}/cancel`, () => bulk.cancelJob(one)],
      [`GET /v1/bulk/jobs/${one}`, () => bulk.download(one)],
    ] as const) {
      service.api.next(match, answer);
      await assert.rejects(call(), { status: 200, code: 'INVALID_RESPONSE' });
    }
    service.api.next(`GET /v1/bulk/jobs/${one}`, answer);
    assert.equal((await bulk.waitForJob(one)).data.id, one);

    service.api.next('GET', ({ path }) => {
      const id = path.split('/').at(-1) ?? '';
      return success(200, { ...service.jobs.get(id)?.job, type: 'export' });
    });
    for await (const job of bulk.importAll({ resourceType: 'Patient', records: [{ lastName: 'Doe' }] })) {
      assert.equal(job.type, 'import');
    }
  });

  test('is a wrong address where it comes three times and the API has never answered', async () => {
    const service = await start();
    service.api.intercept = () => ({ status: 404, body: HTML });
    const batches: ImportBatch[] = [];
    const onBatch = (batch: ImportBatch) => batches.push(batch);
    const request = { resourceType: 'Patient', records: [{ lastName: 'Doe' }], onBatch } as const;
    await assert.rejects(
      async () => {
        for await (const _ of service.client().bulk.importAll(request));
      },
      { status: 404, code: 'API_ERROR' },
    );
    assert.equal(service.api.requests.length, 3);
    assert.equal(batches.length, 2);
  });

  test('and one that is: what the API refuses ends a wait at once', async () => {
    for (const [status, code] of [
      [401, 'KEY_REVOKED'],
      [403, 'INSUFFICIENT_SCOPE'],
    ] as const) {
      const service = await start();
      const id = service.addJob('import', {});
      service.api.next('GET', failure(status, code, 'Refused'));
      await assert.rejects(service.client().bulk.waitForJob(id), { status, code });
      assert.equal(service.api.requests.length, 1);
    }
  });

  test('says nothing of the scope of a key that deletes', async () => {
    const service = await start();
    const id = service.addJob('import', {});
    const { bulk } = service.client();
    service.api.next('GET', { status: 403, body: HTML });
    await assert.rejects(bulk.deleteJob(id), { status: 403, code: 'API_ERROR' });
    assert.equal(service.jobs.size, 1);
    service.api.next('GET', failure(403, 'INSUFFICIENT_SCOPE', 'Key lacks the scope'));
    await bulk.deleteJob(id);
    assert.equal(service.jobs.size, 0);
  });
});

async function drain(items: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of items);
}
