import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { ClinikApiError, ClinikRateLimitError, type ImportBatch, type Job } from '../src/index.js';
import { bodyOf, failure, inflate } from './service.js';
import { services } from './services.js';

const POST = 'POST /v1/bulk/import';

function* patients(count: number, more = {}) {
  for (let n = 0; n < count; n++) yield { id: `p-${n}`, lastName: `Doe ${n}`, ...more };
}

describe('importAll', () => {
  const start = services();

  test('25,000 records are three jobs, and every record is stored once', async () => {
    const service = await start();
    const jobs: Job[] = [];
    const request = { resourceType: 'Patient', records: patients(25_000), label: 'night' } as const;
    for await (const job of service.client().bulk.importAll(request)) jobs.push(job);
    assert.deepEqual(
      jobs.map((job) => [job.status, job.totalRecords, job.label]),
      [10_000, 10_000, 5_000].map((count) => ['completed', count, 'night']),
    );
    assert.equal(service.records.size, 25_000);
  });

  test('a batch ends before 104,857,600 bytes', async () => {
    const service = await start();
    const batches: ImportBatch[] = [];
    const request = {
      resourceType: 'Patient',
      records: patients(110, { note: 'x'.repeat(1_000_000) }),
      onBatch: (batch: ImportBatch) => batches.push(batch),
    } as const;
    let count = 0;
    for await (const job of service.client().bulk.importAll(request)) count += job.totalRecords;
    assert.equal(count, 110);
    assert.equal(service.store.requests.length, 2);
    const ended = batches.filter(({ status }) => status === 'ended');
    assert.deepEqual(
      ended.map(({ index, firstRecord, records }) => [index, firstRecord, records]),
      [
        [0, 0, 104],
        [1, 104, 6],
      ],
    );
    for (const [index, { body }] of service.store.requests.entries()) {
      assert.equal(inflate(body).byteLength, ended[index]?.bytes);
      assert.ok(inflate(body).byteLength <= 104_857_600);
    }
  });

  test('text and files are cut at line ends and stay as they are', async () => {
    const lines = Array.from({ length: 10_002 }, (_, n) => `{"id":"p-${n}", "lastName":"Müller 🩺\u2028", "n":1.10}`);
    for (const records of [lines.join('\n'), new Blob([lines.join('\n'), '\n'])]) {
      const service = await start();
      const totals: number[] = [];
      for await (const job of service.client().bulk.importAll({ resourceType: 'Patient', records })) {
        totals.push(job.totalRecords);
      }
      assert.deepEqual(totals, [10_000, 2]);
      const sent = service.api.received(POST).map((request) => JSON.parse(bodyOf(request)).data as string);
      assert.equal(sent.join(''), `${lines.join('\n')}\n`);
    }
  });

  test('gzip is refused', async () => {
    const service = await start();
    const records = new Blob([gzipSync('{}')]);
    const jobs = service.client().bulk.importAll({ resourceType: 'Patient', records });
    await assert.rejects(drain(jobs), { code: 'INVALID_RECORD', message: /gzip/ });
  });

  test('no records are no jobs', async () => {
    const service = await start();
    await drain(service.client().bulk.importAll({ resourceType: 'Patient', records: [] }));
    assert.equal(service.api.requests.length, 0);
  });

  test('the next batch starts when the next job is asked for', async () => {
    const service = await start();
    for await (const _ of service.client().bulk.importAll({ resourceType: 'Patient', records: patients(30_000) }))
      break;
    assert.equal(service.api.received(POST).length, 1);
  });

  test('a used-up hour is waited for before the upload, and told', async () => {
    const service = await start();
    service.operations = 1;
    service.slotSeconds = 4;
    const batches: ImportBatch[] = [];
    const started = performance.now();
    const jobs = service.client().bulk.importAll({
      resourceType: 'Patient',
      records: patients(20_000, { note: 'x'.repeat(300) }),
      onBatch: (batch) => {
        batches.push(batch);
        if (batch.status === 'waiting') service.operations = 1;
      },
    });
    assert.equal(await drain(jobs), 2);
    assert.deepEqual(
      batches.map(({ status, index }) => [status, index]),
      [
        ['started', 0],
        ['ended', 0],
        ['waiting', 1],
        ['started', 1],
        ['ended', 1],
      ],
    );
    const seconds = batches[2]?.waitSeconds ?? 0;
    assert.ok(seconds >= 1 && seconds <= 4, `${seconds} s`);
    const waited = performance.now() - started;
    assert.ok(waited >= 3_900, `${waited} ms`);
    assert.equal(service.store.requests.length, 2);
  });

  test('a limit that others have used up is waited for, with one upload and one key', async () => {
    const service = await start();
    service.api.next(POST, failure(429, 'RATE_LIMITED', 'Hourly bulk operation limit reached', 1));
    const request = { resourceType: 'Patient', records: patients(10_000, { note: 'x'.repeat(300) }) } as const;
    // Without a retry of the call itself, as after an hour.
    assert.equal(await drain(service.client({ retries: 0 }).bulk.importAll(request)), 1);
    assert.equal(service.store.requests.length, 1);
    const keys = service.api.received(POST).map(({ headers }) => headers['idempotency-key']);
    assert.equal(keys.length, 2);
    assert.equal(new Set(keys).size, 1);
    assert.equal(service.records.size, 10_000);
  });

  test('a wait of an hour is told, and left by an aborted signal', async () => {
    const service = await start();
    service.api.next(POST, failure(429, 'RATE_LIMITED', 'Hourly bulk operation limit reached', 3600));
    const controller = new AbortController();
    const batches: ImportBatch[] = [];
    const onBatch = (batch: ImportBatch) => {
      batches.push(batch);
      controller.abort();
    };
    const request = { resourceType: 'Patient', records: patients(1), onBatch } as const;
    const jobs = service.client().bulk.importAll(request, { signal: controller.signal });
    await assert.rejects(drain(jobs), { name: 'AbortError' });
    assert.deepEqual(
      batches.map(({ status, waitSeconds }) => [status, waitSeconds]),
      [['waiting', 3600]],
    );
  });

  test('a Retry-After of a day or of nonsense is no wait of more than an hour', async () => {
    for (const retryAfter of ['86400', '18446744073709551615', '1'.repeat(400)]) {
      const service = await start();
      service.api.next(POST, failure(429, 'RATE_LIMITED', 'Hourly bulk operation limit reached', retryAfter));
      const controller = new AbortController();
      const waits: unknown[] = [];
      const onBatch = ({ waitSeconds }: ImportBatch) => {
        waits.push(waitSeconds);
        controller.abort();
      };
      const request = { resourceType: 'Patient', records: patients(1), onBatch } as const;
      const jobs = service.client().bulk.importAll(request, { signal: controller.signal });
      await assert.rejects(drain(jobs), { name: 'AbortError' });
      assert.deepEqual(waits, [3600]);
      // The error tells the true number.
      service.api.next(POST, failure(429, 'RATE_LIMITED', 'Hourly bulk operation limit reached', retryAfter));
      const told = service.client().bulk.import({ resourceType: 'Patient', data: patients(1) });
      await assert.rejects(told, { retryAfter: Number(retryAfter) });
    }
  });

  test('a service that is away is told of, and waited for', async () => {
    const service = await start();
    service.api.next(POST, failure(503, 'UNAVAILABLE', 'Unavailable', 1), { refuse: true });
    const batches: ImportBatch[] = [];
    const onBatch = (batch: ImportBatch) => batches.push(batch);
    const request = { resourceType: 'Patient', records: patients(1), onBatch } as const;
    assert.equal(await drain(service.client({ retries: 0 }).bulk.importAll(request)), 1);
    assert.deepEqual(
      batches.map(({ status, waitSeconds }) => [status, waitSeconds]),
      [
        ['waiting', 1],
        ['waiting', 1],
        ['started', undefined],
        ['ended', undefined],
      ],
    );
  });

  test('an error of onBatch reaches the caller, whatever it is, and nothing is sent again', async () => {
    const limited = { status: 429, code: 'RATE_LIMITED', message: 'mine', retryAfter: 1 };
    for (const error of [
      new Error('mine'),
      new ClinikApiError({ ...limited, status: 503 }),
      new ClinikRateLimitError(limited),
    ]) {
      const away = failure(503, 'UNAVAILABLE', 'Unavailable');
      for (const [when, reply] of [
        ['waiting', away],
        ['waiting', failure(429, 'RATE_LIMITED', 'Limit', 1)],
        ['started', undefined],
        ['ended', undefined],
      ] as const) {
        const service = await start();
        if (reply !== undefined) service.api.next(POST, reply);
        const onBatch = ({ status }: ImportBatch) => {
          if (status === when) throw error;
        };
        const request = { resourceType: 'Patient', records: patients(1), onBatch } as const;
        await assert.rejects(drain(service.client({ retries: 0 }).bulk.importAll(request)), error);
        assert.equal(service.api.received(POST).length, 1);
      }
    }
  });

  test('waitForSlot: false ends with the limit', async () => {
    const service = await start();
    service.operations = 1;
    service.slotSeconds = 3600;
    const request = { resourceType: 'Patient', records: patients(20_000), waitForSlot: false } as const;
    const jobs: Job[] = [];
    await assert.rejects(
      async () => {
        for await (const job of service.client().bulk.importAll(request)) jobs.push(job);
      },
      { name: 'ClinikRateLimitError', code: 'RATE_LIMITED', retryAfter: 3600 },
    );
    assert.equal(jobs.length, 1);
  });

  test('a used-up month ends it', async () => {
    const service = await start();
    service.api.next(POST, failure(429, 'MONTHLY_QUOTA_EXCEEDED', 'Monthly request quota exceeded', 3600));
    const jobs = service.client().bulk.importAll({ resourceType: 'Patient', records: patients(1) });
    await assert.rejects(drain(jobs), { code: 'MONTHLY_QUOTA_EXCEEDED' });
  });

  test('an idempotency key is one for each batch', async () => {
    const service = await start();
    const request = () => ({ resourceType: 'Patient' as const, records: patients(20_000) });
    await drain(service.client().bulk.importAll(request(), { idempotencyKey: 'migration' }));
    await drain(service.client().bulk.importAll(request(), { idempotencyKey: 'migration' }));
    const keys = service.api.received(POST).map(({ headers }) => headers['idempotency-key']);
    assert.deepEqual(keys, ['migration-0', 'migration-1', 'migration-0', 'migration-1']);
    assert.equal(service.jobs.size, 2);
  });

  test('a record that is none is named by its number among all', async () => {
    const service = await start();
    const records = (function* () {
      yield* patients(10_500);
      yield 'Jane' as unknown as object;
    })();
    const jobs = service.client().bulk.importAll({ resourceType: 'Patient', records });
    await assert.rejects(drain(jobs), { name: 'TypeError', message: 'record 10501: expected an object' });
  });
});

async function drain(items: AsyncIterable<unknown>): Promise<number> {
  let count = 0;
  for await (const _ of items) count++;
  return count;
}
