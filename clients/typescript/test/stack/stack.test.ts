import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { Clinik, type ImportResult, type Job } from '../../src/index.js';

const { API_URL: baseUrl = '', API_KEY: key = '' } = process.env;
const { bulk } = new Clinik(key, { baseUrl });
/** Types that nobody else imports at the same time, so that their exports can be counted. */
const [SMALL, LARGE, TYPED] = ['Schedule', 'Slot', 'Location'] as const;
const run = randomUUID().slice(0, 8);

async function ended(started: { data: { jobId: string } }): Promise<Job> {
  const { data: job } = await bulk.waitForJob(started.data.jobId, { timeout: 90_000 });
  return job;
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

const patients = (count: number, more = {}) =>
  Array.from({ length: count }, (_, n) => ({ id: `${run}-${n}`, firstName: 'Jane', lastName: `Doe ${n}`, ...more }));

describe('the service', () => {
  test('imports what is valid and reports the rest', async () => {
    const data = [
      `{"id":"${run}-a","firstName":"Jane","lastName":"Doe"}`,
      '{"firstName":"X"}',
      '{"lastName":"\ud83d"}',
    ];
    const started = await bulk.import({ resourceType: 'Patient', data: data.join('\n'), label: run });
    assert.equal(started.data.status, 'pending');
    assert.equal(started.meta.status, 202);
    assert.ok((started.meta.rateLimitTotal ?? 0) > 0);
    const job = await ended(started);
    assert.deepEqual([job.type, job.status, job.outcome, job.label], ['import', 'completed', 'partial', run]);
    assert.deepEqual([job.totalRecords, job.succeededRecords, job.failedRecords], [3, 1, 2]);
    const errors = await collect(bulk.errors(job.id));
    assert.deepEqual(errors, job.errors);
    assert.deepEqual(errors[0], {
      index: 1,
      line: 2,
      code: 'required',
      path: '/lastName',
      message: 'lastName: Required',
    });
    assert.equal(errors[1]?.code, 'invalid_json');
    const rejected = await collect(bulk.rejected(job.id));
    assert.equal(rejected.length, 2);
    assert.equal(rejected[0], data[1]);
    const results = await collect<ImportResult>(bulk.results(job.id));
    // Under an id of the caller's, created and replaced cannot be told apart.
    assert.deepEqual(results[0], { line: 1, outcome: 'stored', id: `${run}-a` });
    assert.deepEqual(results[1], { line: 2, outcome: 'rejected' });
  });

  test('imports by upload, plain and gzip, what is too large for a call', async () => {
    // Few and large: what takes time is to store them.
    const records = patients(1_000, { note: 'ü'.repeat(1_600) });
    const plain = await ended(await bulk.import({ resourceType: 'Patient', data: records }));
    assert.deepEqual([plain.status, plain.succeededRecords], ['completed', 1_000]);
    const ndjson = records.map((record) => JSON.stringify(record)).join('\n');
    const data = new Blob([gzipSync(ndjson)]);
    const gzip = await ended(await bulk.import({ resourceType: 'Patient', data }));
    assert.deepEqual([gzip.status, gzip.succeededRecords], ['completed', 1_000]);
  });

  test('takes an upload once, and repeats the start of it under its idempotency key', async () => {
    const { data: upload } = await bulk.upload(Buffer.from('{"firstName":"Jane","lastName":"Doe"}'));
    const request = { resourceType: 'Patient', uploadId: upload.uploadId } as const;
    const idempotencyKey = randomUUID();
    const first = await bulk.import(request, { idempotencyKey });
    const second = await bulk.import(request, { idempotencyKey });
    assert.equal(first.data.jobId, second.data.jobId);
    await assert.rejects(bulk.import(request), { name: 'ClinikValidationError', code: 'VALIDATION_ERROR' });
    await assert.rejects(bulk.import({ resourceType: 'Patient', data: '{}' }, { idempotencyKey }), { status: 409 });
    assert.equal((await ended(first)).status, 'completed');
  });

  test('exports byte for byte what was imported', async () => {
    const line = `{"id":"${run}-s","actorIds":["x"],"exact":1.10,"separator":"\u2028","big":123456789012345678901234567890}`;
    const imported = await ended(await bulk.import({ resourceType: SMALL, data: line }));
    assert.equal(imported.succeededRecords, 1);
    const job = await ended(await bulk.export({ resourceTypes: [SMALL] }));
    assert.equal(job.status, 'completed');
    assert.match(job.downloadUrl ?? '', /^https?:/);
    assert.equal(job.files?.length, 1);
    const chunks: Uint8Array[] = [];
    for await (const chunk of await bulk.download(job.id)) chunks.push(chunk);
    const content = Buffer.concat(chunks);
    assert.equal(content.byteLength, job.files?.[0]?.bytes);
    assert.match(content.toString(), /"exact":1\.10,"separator":"\u2028","big":123456789012345678901234567890/);
    const found = await collect(bulk.records(job.id));
    assert.equal(found.length, job.totalRecords);
    assert.ok(
      found.some(({ id, resourceType, meta }) => id === `${run}-s` && resourceType === SMALL && meta.lastUpdated),
    );
  });

  test('exports a file per type, compressed, and only what has changed', async () => {
    const before = await ended(await bulk.export({ resourceTypes: [TYPED, LARGE] }));
    await ended(await bulk.import({ resourceType: TYPED, data: [{ id: `${run}-t`, name: 'Ward', status: 'active' }] }));
    const job = await ended(
      await bulk.export({
        resourceTypes: [TYPED, LARGE],
        since: new Date(before.transactionTime ?? 0),
        files: 'perType',
        compression: 'gzip',
        label: run,
      }),
    );
    assert.equal(job.downloadUrl, undefined);
    assert.deepEqual(
      job.files?.map(({ name, resourceType }) => [name, resourceType]),
      [[`${TYPED}.ndjson.gz`, TYPED]],
    );
    const records = await collect(bulk.records(job.id));
    assert.ok(records.some(({ id }) => id === `${run}-t`));
    const sums = await bulk.download(job.id, 'SHA256SUMS');
    let text = '';
    for await (const chunk of sums) text += Buffer.from(chunk).toString();
    assert.equal(text, `${job.files?.[0]?.sha256}  ${TYPED}.ndjson.gz\n`);
  });

  test('validates at once, also more than a call carries uncompressed', async () => {
    const { data: report } = await bulk.validate({ resourceType: 'Patient', data: [{ firstName: 'Jane' }] });
    assert.deepEqual([report.totalRecords, report.validRecords, report.invalidRecords], [1, 0, 1]);
    assert.equal(report.errors[0]?.code, 'required');
    const large = patients(10_000, { note: 'ü'.repeat(160) });
    const { data } = await bulk.validate({ resourceType: 'Patient', data: large });
    assert.deepEqual([data.validRecords, data.errorsTruncated], [10_000, false]);
  });

  test('lists, cancels and deletes jobs', async () => {
    const label = randomUUID();
    const data = patients(10_000, { note: 'ü'.repeat(160) });
    const started = await bulk.import({ resourceType: 'Patient', data, label });
    await assert.rejects(bulk.deleteJob(started.data.jobId), { status: 409, code: 'JOB_NOT_FINISHED' });
    const { data: cancelled } = await bulk.cancelJob(started.data.jobId);
    assert.deepEqual([cancelled.status, cancelled.outcome], ['failed', 'cancelled']);
    const { data: page } = await bulk.listJobs({ count: 1, type: 'import', resourceType: ['Patient', 'Task'] });
    assert.equal(page.data.length, 1);
    assert.equal(page.hasMore, true);
    let found = false;
    for await (const job of bulk.jobs({ status: ['failed'], count: 100 })) found ||= job.label === label;
    assert.ok(found);
    assert.equal((await collect(bulk.errors(cancelled.id)))[0]?.code, 'cancelled');
    const { meta } = await bulk.deleteJob(cancelled.id);
    assert.equal(meta.status, 204);
    await assert.rejects(bulk.getJob(cancelled.id), { name: 'ClinikNotFoundError', code: 'NOT_FOUND' });
  });

  test('tells the limits', async () => {
    const { data: limits } = await bulk.getLimits();
    assert.equal(limits.environment, 'test');
    assert.ok((limits.bulkOperations.limit ?? 0) > 0);
    assert.deepEqual([limits.batch.maxRecords, limits.batch.maxUploadBytes], [10_000, 104_857_600]);
  });

  test('refuses a key that it does not know, and what breaks a rule', async () => {
    const stranger = new Clinik('clk_test_00000000000000000000000000000000', { baseUrl });
    await assert.rejects(stranger.bulk.getLimits(), { name: 'ClinikAuthError', status: 401, code: 'INVALID_KEY' });
    const types = ['Patient', 'Pateint'] as unknown as ['Patient'];
    await assert.rejects(bulk.export({ resourceTypes: types }), (error: { name: string; issues?: object[] }) => {
      assert.equal(error.name, 'ClinikValidationError');
      assert.equal(error.issues?.length, 1);
      return true;
    });
    await assert.rejects(bulk.download('job_unknown', 'x.ndjson'), { name: 'ClinikNotFoundError' });
  });
});
