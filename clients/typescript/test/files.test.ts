import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { inspect } from 'node:util';
import { gzipSync } from 'node:zlib';
import type { JobError } from '../src/index.js';
import { services } from './services.js';

const NAME = 'export.ndjson';

describe('lines', () => {
  const start = services();

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

  test('gzip is read to its end, whatever zeros stand behind a member', async () => {
    const service = await start();
    const part = (from: number) => Array.from({ length: 5_000 }, (_, n) => `{"n":${from + n}}\n`).join('');
    const [first, second] = [gzipSync(part(0)), gzipSync(part(5_000))];
    const zeros = (count: number) => Buffer.alloc(count);
    for (const count of [0, 1, 512, 200_000]) {
      const content = Buffer.concat([first, zeros(count), second, zeros(count)]);
      const id = service.addJob('export', { 'x.ndjson.gz': content }, { totalRecords: 10_000 });
      // What the stub has counted itself ends at a zero.
      for (const file of service.jobs.get(id)?.job.files ?? []) file.records = 10_000;
      const found = await collect(service.client().bulk.records(id));
      assert.equal(found.length, 10_000, `${count} zeros`);
      assert.deepEqual(found.at(-1), { n: 9_999 });
    }
  });

  test('gzip that ends early, in whatever member, is an error', async () => {
    const service = await start();
    const members = Buffer.concat([gzipSync('{"a":1}\n'), gzipSync('{"a":2}\n')]);
    for (let length = 0; length < members.byteLength; length++) {
      if (length === members.byteLength / 2) continue;
      const id = service.addJob('export', { 'x.ndjson.gz': members.subarray(0, length) });
      await assert.rejects(collect(service.client().bulk.records(id)), { code: 'INVALID_RECORD' }, `${length} bytes`);
    }
    for (const behind of ['x', '\0x']) {
      const id = service.addJob('export', { 'x.ndjson.gz': Buffer.concat([members, Buffer.from(behind)]) });
      await assert.rejects(collect(service.client().bulk.records(id)), { code: 'INVALID_RECORD' });
    }
  });

  test('a byte that becomes a zero behind a member is found by the hash, however the file arrives', async () => {
    const service = await start();
    // Compressed so little that it arrives in many pieces.
    const members = [1, 2, 3, 4].map((n) => gzipSync(`{"n":${n}}\n`.repeat(20_000), { level: 0 }));
    const content = Buffer.concat(members);
    const id = service.addJob('export', { 'x.ndjson.gz': content });
    for (const at of members.keys()) {
      const damaged = Buffer.from(content);
      damaged[Buffer.concat(members.slice(0, at)).byteLength] = 0;
      service.store.next('GET', { body: damaged });
      await assert.rejects(collect(service.client().bulk.records(id)), { name: 'ClinikApiError' });
    }
    // Behind the last member a zero is no fault of gzip's: only the hash tells.
    service.store.next('GET', { body: Buffer.concat([content, Buffer.of(0)]) });
    await assert.rejects(collect(service.client().bulk.records(id)), { code: 'CHECKSUM_MISMATCH' });
    const [first] = members;
    const whole = Buffer.concat([first ?? Buffer.of(), Buffer.alloc(content.byteLength - (first?.byteLength ?? 0))]);
    service.store.next('GET', { body: whole });
    await assert.rejects(collect(service.client().bulk.records(id)), { code: 'CHECKSUM_MISMATCH' });
  });

  test('lines are as they are, of all files or of one', async () => {
    const service = await start();
    const lines = ['{"n":1.10,"id":12345678901234567890}', '{ "a" : "U+2028 \u2028 and \r" }\r', '\ufeff{}'];
    const text = lines.map((line) => `${line}\n`).join('');
    const id = service.addJob('export', { 'A.ndjson': text, 'B.ndjson.gz': gzipSync('{"b":1e400}\n') });
    const { bulk } = service.client();
    assert.deepEqual(await collect(bulk.lines(id)), [...lines, '{"b":1e400}']);
    assert.deepEqual(await collect(bulk.lines(id, { name: 'B.ndjson.gz' })), ['{"b":1e400}']);
    service.store.next('GET', { body: text.replace('1.10', '1.11') });
    await assert.rejects(collect(bulk.lines(id)), { code: 'CHECKSUM_MISMATCH' });
    const invalid = service.addJob('export', { 'A.ndjson': Buffer.from([0x7b, 0x22, 0xff, 0x0a]) });
    for (const items of [bulk.lines(invalid), bulk.records(invalid)]) {
      await assert.rejects(collect(items), { code: 'INVALID_RECORD', message: 'A.ndjson: line 1 is not UTF-8' });
    }
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
