import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { ImportBatch } from '../src/index.js';
import { success } from './service.js';
import { services } from './services.js';

const POST = 'POST /v1/bulk/import';

describe('what was sent is what a job has read', () => {
  const start = services();

  for (const [name, total, succeeded, failed] of [
    ['read and stored', 3, 3, 0],
    ['read', 3, 4, 0],
    ['stored or rejected', 4, 1, 2],
    ['counted as stored', 4, undefined, 0],
    ['stored', 4, 4, 1],
  ] as const) {
    test(`a job that has not ${name} what was sent is an error, and no success`, async () => {
      const service = await start();
      const counts = { totalRecords: total, processedRecords: total, failedRecords: failed };
      const more = succeeded === undefined ? counts : { ...counts, succeededRecords: succeeded };
      const id = service.addJob('import', {}, more);
      service.api.next(POST, success(202, { jobId: id, status: 'pending', message: 'Job started' }));
      const batches: ImportBatch[] = [];
      const onBatch = (batch: ImportBatch) => batches.push(batch);
      const request = { resourceType: 'Patient', records: Array(4).fill({ lastName: 'Doe' }), onBatch } as const;
      const told = `it has read ${total}, stored ${succeeded} and rejected ${failed}`;
      await assert.rejects(drain(service.client().bulk.importAll(request)), {
        ...{ name: 'ClinikApiError', status: 0, code: 'COUNT_MISMATCH' },
        message: `${id}: of the 4 records of batch 0 ${told}`,
      });
      assert.deepEqual(
        batches.map(({ status }) => status),
        ['started'],
      );
    });
  }

  test('a file that has not as many lines as the job tells of is an error at its end', async () => {
    const service = await start();
    const { bulk } = service.client();
    const tell = (id: string, name: string, records: number) => {
      const stored = service.jobs.get(id);
      assert.ok(stored?.job.files);
      const files = stored.job.files.map((file) => (file.name === name ? { ...file, records } : file));
      stored.job = { ...stored.job, files, totalRecords: records };
    };
    for (const [name, content] of [
      ['A.ndjson', '{"id":"1"}\n{"id":"2"}\n'],
      ['A.ndjson.gz', gzipSync('{"id":"1"}\n{"id":"2"}\n')],
    ] as const) {
      for (const records of [1, 3]) {
        const id = service.addJob('export', { [name]: content });
        tell(id, name, records);
        const message = `${name}: it has 2 lines, and the job tells of ${records}`;
        for (const read of [() => bulk.records(id), () => bulk.lines(id), () => bulk.lines(id, { name })]) {
          await assert.rejects(drain(read()), { code: 'COUNT_MISMATCH', message });
        }
      }
    }
    for (const [name, read] of [
      ['errors.ndjson', bulk.errors],
      ['rejected.ndjson', bulk.rejected],
      ['results.ndjson', bulk.results],
    ] as const) {
      const id = service.addJob('import', { [name]: '{}\n' });
      assert.equal(await drain(read(id)), 1);
      tell(id, name, 2);
      await assert.rejects(drain(read(id)), { code: 'COUNT_MISMATCH' });
    }
    const id = service.addJob('import', { 'rejected.ndjson': '\n{}\n\n' });
    assert.equal(await drain(bulk.rejected(id)), 3);
  });

  test('files that hold other than the export tells of are an error', async () => {
    const service = await start();
    const { records, lines } = service.client().bulk;
    const id = service.addJob('export', { 'A.ndjson': '{"id":"1"}\n' }, { totalRecords: 2 });
    await assert.rejects(drain(records(id)), { code: 'COUNT_MISMATCH' });
    await assert.rejects(drain(lines(id)), { code: 'COUNT_MISMATCH' });
    const empty = service.addJob('export', {}, { totalRecords: 1 });
    await assert.rejects(drain(records(empty)), { code: 'COUNT_MISMATCH' });
  });

  test('deleted records are no records', async () => {
    const service = await start();
    const deleted = '{"resourceType":"Patient","id":"2","deletedAt":"2026-01-15T09:15:00.000Z"}\n';
    const id = service.addJob('export', { 'A.ndjson': '{"id":"1"}\n', 'deleted.ndjson': deleted });
    assert.equal(await drain(service.client().bulk.records(id)), 1);
    assert.equal(await drain(service.client().bulk.lines(id)), 1);
    assert.equal(await drain(service.client().bulk.lines(id, { name: 'deleted.ndjson' })), 1);
  });

  test('blank lines count, as they do in the job', async () => {
    const line = '{"lastName":"Doe"}';
    for (const records of [
      `${line}\n\n${line}\n`,
      `${line}\n\n`,
      `${line}\r\n\r\n`,
      `\ufeff${line}`,
      '\n',
      `${line}\n\r`,
    ]) {
      const service = await start();
      assert.equal(await drain(service.client().bulk.importAll({ resourceType: 'Patient', records })), 1);
    }
  });
});

async function drain(items: AsyncIterable<unknown>): Promise<number> {
  let count = 0;
  for await (const _ of items) count++;
  return count;
}
