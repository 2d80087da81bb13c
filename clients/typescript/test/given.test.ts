import assert from 'node:assert/strict';
import { openAsBlob } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { inspect } from 'node:util';
import type { BlobLike, Bulk, ImportData } from '../src/index.js';
import { services } from './services.js';

const LINE = '{"lastName":"Doe"}';
const EXPECTED = 'must be NDJSON text, an array or (async) iterable of records, or a Blob of NDJSON; it is';

describe('records', () => {
  const start = services();
  const ways: Record<string, [name: string, send: (bulk: Bulk, given: ImportData) => Promise<unknown>]> = {
    import: ['data', (bulk, data) => bulk.import({ resourceType: 'Patient', data })],
    validate: ['data', (bulk, data) => bulk.validate({ resourceType: 'Patient', data })],
    importAll: ['records', (bulk, records) => drain(bulk.importAll({ resourceType: 'Patient', records }))],
  };
  const wrong: [given: unknown, told: string][] = [
    [Promise.resolve([{ lastName: 'Jane' }]), 'a Promise: await it'],
    [Promise.resolve(new Blob(['Jane'])), 'a Promise: await it'],
    [{ lastName: 'Jane' }, 'one object: put it into an array'],
    [new Date(0), 'one object: put it into an array'],
    [undefined, 'undefined'],
    [null, 'null'],
    [7, 'a number'],
    [true, 'a boolean'],
    [function* () {}, 'a function: call it'],
    [Buffer.from('Jane'), 'bytes: make a Blob of them, or text'],
    [new ArrayBuffer(4), 'bytes: make a Blob of them, or text'],
  ];
  for (const [way, [name, send]] of Object.entries(ways)) {
    test(`of a form that cannot be read are refused by ${way}, which says what it expects`, async () => {
      const service = await start();
      for (const [given, told] of wrong) {
        await assert.rejects(send(service.client().bulk, given as ImportData), (error: Error) => {
          assert.equal(error.name, 'TypeError');
          assert.equal(error.message, `${name} ${EXPECTED} ${told}`);
          assert.doesNotMatch(inspect(error), /Jane/);
          return true;
        });
      }
      assert.equal(service.api.requests.length, 0);
    });

    test(`as text, a file, an array, a set, a generator or a stream are taken by ${way}`, async () => {
      const service = await start();
      const record = { lastName: 'Doe' };
      const folder = await mkdtemp(join(tmpdir(), 'clinikapi-'));
      try {
        const path = join(folder, 'patients.ndjson');
        await writeFile(path, `${LINE}\n`);
        const sources: ImportData[] = [
          LINE,
          await openAsBlob(path),
          [record],
          new Set([record]),
          (function* () {
            yield record;
          })(),
          ReadableStream.from([record]) as AsyncIterable<object>,
        ];
        for (const source of sources) await send(service.client().bulk, source);
        assert.equal(service.writes.get(LINE) ?? 0, way === 'validate' ? 0 : sources.length);
      } finally {
        await rm(folder, { recursive: true });
      }
    });
  }

  test('of a file are read in pieces, as they are needed', async () => {
    const service = await start();
    const content = Buffer.from(`${LINE.replace('}', `,"note":"${'x'.repeat(400)}"}`)}\n`.repeat(25_000));
    const read = { furthest: 0, largest: 0 };
    const slice = (start = 0, end = content.byteLength): BlobLike => ({
      size: end - start,
      slice: (from = 0, to = end - start) => slice(start + from, start + to),
      arrayBuffer: async () => {
        const bytes = content.subarray(start, end);
        read.furthest = Math.max(read.furthest, start + bytes.byteLength);
        read.largest = Math.max(read.largest, bytes.byteLength);
        return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
      },
    });
    const request = { resourceType: 'Patient', records: slice() } as const;
    const seen: number[] = [];
    for await (const job of service.client().bulk.importAll(request)) {
      seen.push(job.totalRecords);
      const batches = seen.reduce((sum, count) => sum + count, 0) / 25_000;
      assert.ok(read.furthest <= batches * content.byteLength + 2_097_152, `${read.furthest} bytes`);
    }
    assert.deepEqual(seen, [10_000, 10_000, 5_000]);
    assert.ok(read.largest <= 1_048_576, `${read.largest} bytes at once`);
  });
});

async function drain(items: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of items);
}
