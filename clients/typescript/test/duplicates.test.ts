import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { inspect } from 'node:util';
import { cut } from '../src/batches.js';
import type { DuplicateRecord, ImportAllRequest, ImportBatch, ImportData, ImportedJob } from '../src/index.js';
import { SeenIds } from '../src/seen-ids.js';
import { bodyOf, type Service } from './service.js';
import { services } from './services.js';

const POST = 'POST /v1/bulk/import';

/** A record that says which one of those with its id it is. */
const person = (id: unknown, lastName: string) => ({ id, lastName });
/** So many records that those behind them are in another batch. */
const others = (count: number) => Array.from({ length: count }, (_, n) => person(`o-${n}`, 'Other'));

describe('duplicate ids', () => {
  const start = services();

  async function run(service: Service, records: ImportData, more: Partial<ImportAllRequest> = {}) {
    const jobs: ImportedJob[] = [];
    const batches: ImportBatch[] = [];
    const told: DuplicateRecord[] = [];
    const request = {
      ...({ resourceType: 'Patient', records } as const),
      onBatch: (batch: ImportBatch) => batches.push(batch),
      onDuplicate: (duplicate: DuplicateRecord) => told.push(duplicate),
      ...more,
    };
    for await (const job of service.client().bulk.importAll(request)) jobs.push(job);
    return { jobs, batches, told };
  }

  const given = [
    person('p-1', 'First'),
    ...others(10_000),
    person('p-1', 'Second'),
    person('p-2', 'Only'),
    person('p-1', 'Third'),
  ];
  const lines = given.map((record) => JSON.stringify(record));
  const forms: Record<string, () => ImportData> = {
    objects: () => given,
    text: () => lines.join('\n'),
    'a file': () => new Blob([lines.join('\r\n'), '\n']),
    'text with escapes': () => lines.join('\n').replaceAll('"id":"p-1"', '"\\u0069d" : "p\\u002d1"'),
  };
  for (const [form, records] of Object.entries(forms)) {
    test(`in ${form}: the first wins, over all batches, and the others are told of`, async () => {
      const service = await start();
      const { jobs, batches, told } = await run(service, records());
      assert.equal((service.records.get('p-1') as { lastName: string }).lastName, 'First');
      assert.equal(service.records.size, 10_002);
      const message = 'id: Same as in record 1';
      const expected = [10_002, 10_004].map((record) => {
        return { record, firstRecord: 1, code: 'duplicate_id', path: '/id', message };
      });
      assert.deepEqual(told, expected);
      // Sent and left out are what was given.
      const counts = jobs.map(({ totalRecords, duplicateRecords }) => [totalRecords, duplicateRecords]);
      assert.deepEqual(counts, [
        [10_000, 0],
        [2, 2],
      ]);
      assert.deepEqual(jobs[1]?.duplicates, expected);
      const ended = batches.filter(({ status }) => status === 'ended');
      assert.deepEqual(
        ended.map(({ firstRecord, records, duplicateRecords }) => [firstRecord, records, duplicateRecords]),
        [
          [0, 10_000, 0],
          [10_000, 2, 2],
        ],
      );
      assert.deepEqual(ended[1]?.duplicates, expected);
    });
  }

  test('in between change no number of a record behind them', async () => {
    const service = await start();
    const records = [person('a', 'Doe'), person('a', 'Doe'), { id: 'b' }, person('a', 'Doe'), { id: 'c' }];
    const { jobs, batches } = await run(service, records);
    const numbers = jobs[0]?.errors.map(({ line = 0 }) => batches[0]?.recordNumber(line));
    assert.deepEqual(numbers, [3, 5]);
    assert.throws(() => batches[0]?.recordNumber(4), { name: 'RangeError', message: 'line: expected 1 to 3' });
    assert.throws(() => batches[0]?.recordNumber(0), RangeError);
  });

  test('behind the last record of a full batch belong to it', async () => {
    const service = await start();
    const { jobs, batches } = await run(service, [...others(10_000), ...others(3), person('p-1', 'Doe')]);
    assert.deepEqual(
      jobs.map(({ duplicateRecords }) => duplicateRecords),
      [3, 0],
    );
    assert.equal(batches.at(-1)?.firstRecord, 10_003);
    const { jobs: only } = await run(service, [...others(10_000), ...others(3)]);
    assert.deepEqual(
      only.map(({ duplicateRecords }) => duplicateRecords),
      [3],
    );
  });

  test('without number fill no memory: the first hundred are shown, and all are told of', async () => {
    const service = await start();
    const { jobs, told } = await run(service, Array(500).fill(person('p-1', 'Doe')));
    assert.deepEqual([jobs[0]?.duplicateRecords, jobs[0]?.duplicates.length, told.length], [499, 100, 499]);
    assert.equal(jobs[0]?.totalRecords, 1);
  });

  test('are none where the service would not store a record under the id', async () => {
    const service = await start();
    const records = ['{"id":"x y"}', '{"id":"x y"}', '{"id":7}', '{"id":7}', '{"id":""}', '{"id":""}', '{"id":null}'];
    const other = ['{"resourceType":"Task","id":"p-1"}', '{"resourceType":"Patient","id":"p-1"}', '{"id":"p-1"'];
    const long = JSON.stringify({ id: 'x'.repeat(65) });
    const all = [...records, ...records, ...other, '{"id":"p-1"', '', '', '["p-1"]', 'null', long, long];
    const { told } = await run(service, all.join('\n'));
    assert.deepEqual(told, []);
    assert.equal(JSON.parse(bodyOf(service.api.received(POST)[0])).data, `${all.join('\n')}\n`);
    const invalid = Buffer.from('{"id":"p-1","lastName":"\xff"}\n', 'latin1');
    assert.deepEqual((await run(service, new Blob([invalid, invalid]))).told, []);
  });

  test('with the last: all are sent, and a later batch replaces what an earlier one has stored', async () => {
    const service = await start();
    const { jobs, told } = await run(service, given, { duplicates: 'last' });
    assert.equal((service.records.get('p-1') as { lastName: string }).lastName, 'Second');
    assert.deepEqual(
      jobs.map(({ totalRecords, duplicateRecords, failedRecords }) => [totalRecords, duplicateRecords, failedRecords]),
      [
        [10_000, 0, 0],
        // The third is in one batch with the second: that is for the service to tell.
        [4, 0, 1],
      ],
    );
    assert.equal(jobs[1]?.errors[0]?.code, 'duplicate_id');
    assert.deepEqual(told, []);
  });

  test('with another word than first or last: it is refused', async () => {
    const service = await start();
    for (const duplicates of ['error', '', null]) {
      const more = { duplicates: duplicates as 'first' };
      await assert.rejects(run(service, given, more), { message: "duplicates: expected 'first' or 'last'" });
    }
    assert.equal(service.api.requests.length, 0);
  });

  test('an error of onDuplicate reaches the caller, whatever it is, and a promise is waited for', async () => {
    const service = await start();
    const records = [person('p-1', 'Doe'), person('p-1', 'Doe')];
    const onDuplicate = () => Promise.reject(new Error('mine'));
    await assert.rejects(run(service, records, { onDuplicate }), { message: 'mine' });
    assert.equal(service.api.requests.length, 0);
  });

  test('show nothing of a record', async () => {
    const service = await start();
    const { told } = await run(service, [person('Jane', 'Doe'), person('Jane', 'Doe')]);
    assert.doesNotMatch(inspect(told), /Jane|Doe/);
  });
});

describe('ids that were seen', () => {
  test('are found again, however many there are, with the number of the first', () => {
    const seen = new SeenIds();
    const count = 200_000;
    for (let n = 1; n <= count; n++) assert.equal(seen.add(`id-${n}`, n), undefined);
    assert.equal(seen.size, count);
    for (let n = 1; n <= count; n++) assert.equal(seen.add(`id-${n}`, count + n), n);
    assert.equal(seen.add('ID-1', 1), undefined);
    assert.equal(seen.size, count + 1);
  });

  test('are not of records without ids', async () => {
    const seen = new SeenIds();
    const records = [{ lastName: 'Doe' }, { id: 'p-1' }, { id: 7 }, { id: 'p-1' }, { id: 'x y' }];
    const cutting = { resourceType: 'Patient', seen, onDuplicate: undefined, signal: undefined } as const;
    for await (const batch of cut(records, cutting)) assert.equal(batch.records, 4);
    assert.equal(seen.size, 1);
  });

  test('take less than 70 bytes each', () => {
    const count = 200_000;
    const seen = new SeenIds();
    for (let n = 1; n <= count; n++) seen.add(`id-${n}`, n);
    assert.equal(seen.size, count);
    const { bytes } = seen;
    assert.ok(bytes / count < 70, `${bytes / count} bytes each`);
  });
});
