import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { inspect } from 'node:util';
import { gzipSync } from 'node:zlib';
import type { JobError } from '../src/index.js';
import { Service } from './service.js';

const NAME = 'export.ndjson';

describe('lines', () => {
  const services: Service[] = [];
  const start = async () => {
    const service = await Service.start();
    services.push(service);
    return service;
  };
  after(() => Promise.all(services.map((service) => service.stop())));

  test('records are split at line ends alone, of all files, gzipped in several members or not', async () => {
    const service = await start();
    const records = [{ a: 'U+2028 \u2028 and \r' }, { a: 'é'.repeat(40_000) }, { a: '' }, { a: '🩺' }];
    const lines = records.map((record) => `${JSON.stringify(record)}\n`);
    const members = lines.map((line) => gzipSync(line));
    for (const files of [
      { [NAME]: lines.join('') },
      { [NAME]: lines.join('').trimEnd() },
      { 'export.ndjson.gz': Buffer.concat(members) },
      { 'A.ndjson': lines.slice(0, 3).join(''), 'B.ndjson.gz': gzipSync(lines[3] ?? ''), 'C.ndjson.gz': gzipSync('') },
      { 'A.ndjson': lines.join(''), 'B.ndjson': '' },
    ]) {
      const id = service.addJob('export', files);
      const found: unknown[] = [];
      for await (const record of service.client().bulk.records(id)) found.push(record);
      assert.deepEqual(found, records);
    }
    const id = service.addJob('export', { 'A.ndjson': '{"a":1}\n', 'B.ndjson': '{"b":1}\n' });
    const found: unknown[] = [];
    for await (const record of service.client().bulk.records(id, { name: 'B.ndjson' })) found.push(record);
    assert.deepEqual(found, [{ b: 1 }]);
  });

  test('a character that a cut tears apart is put together', async () => {
    const service = await start();
    const content = Buffer.from(`${JSON.stringify({ a: '🩺'.repeat(1000) })}\n`);
    const id = service.addJob('export', { [NAME]: content });
    service.store.next('GET', { body: content, cutAfter: 1_001 });
    for await (const record of service.client().bulk.records<{ a: string }>(id)) {
      assert.equal(record.a, '🩺'.repeat(1000));
    }
  });

  test('a line that is no JSON is named, not shown', async () => {
    const service = await start();
    const id = service.addJob('export', { [NAME]: '{"a":1}\n{"name":"Jane Doe"\n' });
    await assert.rejects(collect(service.client().bulk.records(id)), (error: Error) => {
      assert.match(error.message, /export\.ndjson: line 2/);
      assert.doesNotMatch(inspect(error), /Jane|Doe/);
      return true;
    });
  });

  test('gzip that is broken is an error', async () => {
    const service = await start();
    const id = service.addJob('export', { 'x.ndjson.gz': gzipSync('{"a":1}\n').subarray(0, 20) });
    await assert.rejects(collect(service.client().bulk.records(id)), { code: 'INVALID_RECORD', message: /not gzip/ });
  });

  test('records with a wrong hash are an error at the end', async () => {
    const service = await start();
    const id = service.addJob('export', { [NAME]: '{"a":1}\n{"a":2}\n' });
    service.store.next('GET', { body: '{"a":1}\n{"a":3}\n' });
    const found: unknown[] = [];
    await assert.rejects(
      async () => {
        for await (const record of service.client().bulk.records(id)) found.push(record);
      },
      { code: 'CHECKSUM_MISMATCH' },
    );
    assert.equal(found.length, 2);
  });

  test('an import has errors, rejected lines and results', async () => {
    const service = await start();
    const { bulk } = service.client();
    const bad = '{"firstName":  "Jane"}';
    const { data } = await bulk.import({ resourceType: 'Patient', data: `{"id":"p-1","lastName":"Doe"}\n${bad}` });
    const [error] = (await collect(bulk.errors(data.jobId))) as JobError[];
    assert.deepEqual(error, { index: 1, line: 2, code: 'required', path: '/lastName', message: 'lastName: Required' });
    assert.deepEqual(await collect(bulk.rejected(data.jobId)), [bad]);
    assert.deepEqual(await collect(bulk.results(data.jobId)), [
      { line: 1, outcome: 'created', id: 'p-1' },
      { line: 2, outcome: 'rejected' },
    ]);
    await assert.rejects(collect(bulk.records(data.jobId)), { message: /no export/ });
  });

  test('an import without errors has none', async () => {
    const service = await start();
    const { bulk } = service.client();
    const { data } = await bulk.import({ resourceType: 'Patient', data: '{"lastName":"Doe"}' });
    assert.deepEqual(await collect(bulk.errors(data.jobId)), []);
    assert.deepEqual(await collect(bulk.rejected(data.jobId)), []);
  });

  test('a job that failed has its reason as error', async () => {
    const service = await start();
    const errors = [{ code: 'cancelled', message: 'Cancelled' }];
    const id = service.addJob('import', {}, { status: 'failed', outcome: 'cancelled', errors });
    assert.deepEqual(await collect(service.client().bulk.errors(id)), errors);
  });
});

async function collect(items: AsyncIterable<unknown>): Promise<unknown[]> {
  const all: unknown[] = [];
  for await (const item of items) all.push(item);
  return all;
}
