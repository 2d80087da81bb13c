import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { ClinikApiError, ClinikRateLimitError, type ClinikTimeoutError, type Job } from '../src/index.js';
import { TestServer } from './http.js';
import { failure, KEY, type Service, success } from './service.js';
import { services } from './services.js';

describe('jobs', { concurrency: true }, () => {
  const start = services();
  const polls = (service: Service, id: string) => service.api.received(`GET /v1/bulk/jobs/${id}`);

  test('waitForJob polls as Retry-After says until the job is completed', async () => {
    const service = await start();
    const id = service.addJob('import', {});
    service.pendingPolls = 2;
    service.pollSeconds = '2';
    const seen: string[] = [];
    const { data: job, meta } = await service.client().bulk.waitForJob(id, {
      onProgress: ({ status, processedRecords, totalRecords }) =>
        seen.push(`${status} ${processedRecords}/${totalRecords}`),
    });
    assert.equal(job.status, 'completed');
    assert.equal(meta.status, 200);
    assert.deepEqual(seen, ['processing 1/2', 'processing 1/2', 'completed 2/2']);
    const [first, second, third] = polls(service, id).map(({ at }) => at);
    for (const [from, to] of [
      [first, second],
      [second, third],
    ]) {
      const waited = (to ?? 0) - (from ?? 0);
      assert.ok(waited >= 1_900 && waited < 15_000, `${waited} ms`);
    }
  });

  test('waitForJob resolves when the job has failed', async () => {
    const service = await start();
    const errors = [{ code: 'too_many_records', message: 'Too many records' }];
    const id = service.addJob('import', {}, { status: 'failed', outcome: 'failed', errors });
    const { data: job } = await service.client().bulk.waitForJob(id);
    assert.equal(job.outcome, 'failed');
    assert.equal(job.errors[0]?.code, 'too_many_records');
  });

  test('a job that never ends is a time-out that says where it stands', async () => {
    const service = await start();
    const id = service.addJob('import', {});
    service.pendingPolls = Number.POSITIVE_INFINITY;
    const started = performance.now();
    await assert.rejects(service.client().bulk.waitForJob(id, { timeout: 2_500 }), (error: ClinikTimeoutError) => {
      assert.equal(error.name, 'ClinikTimeoutError');
      assert.equal(error.code, 'JOB_TIMEOUT');
      assert.match(error.message, /processing \(1\/2\)/);
      assert.equal(error.job?.id, id);
      return true;
    });
    const waited = performance.now() - started;
    assert.ok(waited >= 2_400 && waited < 15_000, `${waited} ms`);
    // At 0 s, at 1 s, at 2 s, and at the deadline; fewer where a poll took long.
    const count = polls(service, id).length;
    assert.ok(count >= 2 && count <= 4, `${count} polls`);
  });

  test('a network that hangs does not outlast the time-out of waitForJob', async () => {
    const service = await start();
    const id = service.addJob('import', {});
    service.api.next(`GET /v1/bulk/jobs/${id}`, { hang: true });
    await assert.rejects(service.client().bulk.waitForJob(id, { timeout: 300 }), {
      name: 'ClinikTimeoutError',
      code: 'JOB_TIMEOUT',
      message: /its state was not known/,
    });
  });

  test('a service that is away for a while does not end the wait', async () => {
    const service = await start();
    const id = service.addJob('import', {});
    service.pendingPolls = 1;
    const away = failure(503, 'UNAVAILABLE', 'Unavailable', 1);
    service.api.next('GET /v1/bulk/jobs/nothing', away);
    const client = service.client({ retries: 0 });
    const { data } = await client.bulk.waitForJob(id, {
      onProgress: ({ status }) => {
        if (status === 'processing') service.api.next(`GET /v1/bulk/jobs/${id}`, away, away);
      },
    });
    assert.equal(data.status, 'completed');
    assert.equal(polls(service, id).length, 4);
  });

  test('a service that is away from the start, or a proxy that answers in its place, does not end it', async () => {
    const service = await start();
    const id = service.addJob('import', {});
    service.api.next(
      `GET /v1/bulk/jobs/${id}`,
      failure(503, 'UNAVAILABLE', 'Unavailable'),
      { status: 404, body: '<html>Not found</html>' },
      { status: 502, body: '<html>Bad gateway</html>' },
      { status: 200, body: '<html>Sign in</html>' },
    );
    const { data } = await service.client({ retries: 0 }).bulk.waitForJob(id);
    assert.equal(data.status, 'completed');
    assert.equal(polls(service, id).length, 5);
  });

  test('a first poll that finds no service is waited out, until one is there', async () => {
    const service = await start();
    const id = service.addJob('import', {});
    const { port } = new URL(service.url);
    await service.api.stop();
    const waiting = service.client({ retries: 0 }).bulk.waitForJob(id, { timeout: 60_000 });
    await sleep(700);
    const job = service.jobs.get(id)?.job;
    const later = await TestServer.start(() => success(200, job), Number(port));
    try {
      assert.equal((await waiting).data.status, 'completed');
    } finally {
      await later.stop();
    }
  });

  test('a service that is away for longer than the time-out is a time-out', async () => {
    const service = await start();
    const id = service.addJob('import', {});
    service.api.intercept = () => ({ refuse: true });
    const started = performance.now();
    await assert.rejects(service.client().bulk.waitForJob(id, { timeout: 1_500 }), {
      ...{ name: 'ClinikTimeoutError', code: 'JOB_TIMEOUT', message: /its state was not known/ },
    });
    assert.ok(performance.now() - started < 15_000);
  });

  test('a job is gone once the service has said so three times in a row', async () => {
    const service = await start();
    const id = service.addJob('import', {});
    const { bulk } = service.client({ retries: 0 });
    const gone = failure(404, 'NOT_FOUND', 'Not found');
    service.api.next(`GET /v1/bulk/jobs/${id}`, gone, gone, failure(503, 'UNAVAILABLE', 'Unavailable'), gone);
    assert.equal((await bulk.waitForJob(id)).data.status, 'completed');
    assert.equal(polls(service, id).length, 5);
    await assert.rejects(bulk.waitForJob('job_1'), { name: 'ClinikNotFoundError', code: 'NOT_FOUND' });
    assert.equal(polls(service, 'job_1').length, 3);
  });

  test('a wrong clock changes nothing', async (context) => {
    const service = await start();
    const id = service.addJob('import', {});
    service.pendingPolls = 1;
    const real = Date.now;
    context.mock.method(Date, 'now', () => real() - 5 * 365 * 86_400_000);
    const started = performance.now();
    const { data } = await service.client().bulk.waitForJob(id, {
      timeout: 60_000,
      // And it is set right in the middle of the wait.
      onProgress: () => context.mock.restoreAll(),
    });
    assert.equal(data.status, 'completed');
    const waited = performance.now() - started;
    assert.ok(waited >= 900 && waited < 9_000, `${waited} ms`);
  });

  test('an aborted signal stops the wait, in a poll and between polls', async () => {
    const service = await start();
    const id = service.addJob('import', {});
    service.pendingPolls = Number.POSITIVE_INFINITY;
    service.pollSeconds = '30';
    for (const hang of [true, false]) {
      if (hang) service.api.next(`GET /v1/bulk/jobs/${id}`, { hang });
      const signal = AbortSignal.timeout(300);
      await assert.rejects(service.client().bulk.waitForJob(id, { signal }), { name: 'TimeoutError' });
    }
  });

  test('an error of onProgress reaches the caller, whatever it is, and ends the wait', async () => {
    const transient = { status: 503, code: 'UNAVAILABLE', message: 'mine' };
    for (const error of [new Error('mine'), new ClinikApiError(transient), new ClinikRateLimitError(transient)]) {
      const service = await start();
      const id = service.addJob('import', {});
      service.pendingPolls = 1;
      for (const fail of [
        () => {
          throw error;
        },
        () => Promise.reject(error),
      ]) {
        await assert.rejects(service.client().bulk.waitForJob(id, { onProgress: fail }), error);
      }
      assert.equal(polls(service, id).length, 2);
    }
  });

  test('jobs goes through all pages, listJobs gives one', async () => {
    const service = await start();
    const ids = Array.from({ length: 45 }, () => service.addJob('import', {}));
    const { bulk } = service.client();
    const found: string[] = [];
    for await (const job of bulk.jobs()) found.push(job.id);
    assert.deepEqual(found, ids);
    assert.equal(service.api.requests.length, 3);

    const { data: page } = await bulk.listJobs({ count: 40 });
    assert.equal(page.data.length, 40);
    assert.equal(page.hasMore, true);
    const { data: rest } = await bulk.listJobs({
      count: 40,
      ...(page.cursor !== undefined && { cursor: page.cursor }),
    });
    assert.deepEqual([rest.data.length, rest.hasMore, rest.cursor], [5, false, undefined]);
  });

  test('filters go into the query', async () => {
    const service = await start();
    const filter = { status: ['pending', 'processing'], type: 'import', resourceType: ['Patient', 'Task'] } as const;
    await service.client().bulk.listJobs({ ...filter, count: 5 });
    assert.deepEqual(Object.fromEntries(service.api.requests[0]?.query ?? []), {
      status: 'pending,processing',
      type: 'import',
      resourceType: 'Patient,Task',
      count: '5',
    });
  });

  test('a list that does not go on is an error, not an endless loop', async () => {
    const service = await start();
    const page = success(200, { data: [], hasMore: true, cursor: 'same' });
    service.api.next('GET /v1/bulk/jobs', page, page, page);
    await assert.rejects(
      async () => {
        for await (const _ of service.client().bulk.jobs());
      },
      { code: 'INVALID_RESPONSE' },
    );
  });

  test('cancel and delete', async () => {
    const service = await start();
    const { bulk } = service.client();
    const id = service.addJob('import', {});
    const { data: job } = await bulk.cancelJob(id);
    assert.equal(job.id, id);
    service.api.next(`DELETE /v1/bulk/jobs/${id}`, failure(409, 'JOB_NOT_FINISHED', 'Cancel it first'));
    await assert.rejects(bulk.deleteJob(id), { status: 409, code: 'JOB_NOT_FINISHED' });
    const { data, meta } = await bulk.deleteJob(id);
    assert.equal(data, undefined);
    assert.deepEqual([meta.status, meta.requestId], [204, 'req_204']);
    await assert.rejects(bulk.getJob(id), { name: 'ClinikNotFoundError' });
  });

  test('an id that would change the path is refused', async () => {
    const service = await start();
    const { bulk } = service.client();
    for (const id of ['', '..', '.', 'a/b', 'job_1?x', 'job 1', '%2e%2e', undefined as unknown as string]) {
      await assert.rejects(async () => bulk.getJob(id), TypeError);
      await assert.rejects(async () => bulk.deleteJob(id), TypeError);
    }
    assert.equal(service.api.requests.length, 0);
  });

  test('a job is one flat interface', async () => {
    const service = await start();
    const id = service.addJob('export', {}, { downloadUrl: 'https://example.com/x' });
    const { data: job }: { data: Job } = await service.client().bulk.getJob(id);
    // No narrowing on `type` before.
    assert.equal(job.downloadUrl, 'https://example.com/x');
    assert.ok(!inspect(job).includes(KEY));
  });
});
