import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ImportBatch } from '../src/index.js';
import { success } from './service.js';
import { services } from './services.js';

const POST = 'POST /v1/bulk/import';

describe('what was sent is what a job has read', () => {
  const start = services();

  test('a job that has not read what was sent is an error, and no success', async () => {
    const service = await start();
    const id = service.addJob('import', {}, { totalRecords: 3, processedRecords: 3, succeededRecords: 3 });
    service.api.next(POST, success(202, { jobId: id, status: 'pending', message: 'Job started' }));
    const batches: ImportBatch[] = [];
    const onBatch = (batch: ImportBatch) => batches.push(batch);
    const request = { resourceType: 'Patient', records: Array(4).fill({ lastName: 'Doe' }), onBatch } as const;
    await assert.rejects(drain(service.client().bulk.importAll(request)), {
      ...{ name: 'ClinikApiError', status: 0, code: 'COUNT_MISMATCH' },
      message: `${id}: it has read 3 of the 4 records of batch 0`,
    });
    assert.deepEqual(
      batches.map(({ status }) => status),
      ['started'],
    );
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
