import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ImportData, ImportProgress } from '../src/index.js';
import { type Service, success } from './service.js';
import { services } from './services.js';

function* people(count: number) {
  for (let n = 0; n < count; n++) yield { id: `p-${n}`, lastName: 'Doe' };
}
const LINES = [...people(12_000)].map((record) => JSON.stringify(record));

describe('progress of importAll', { concurrency: true }, () => {
  const start = services();

  async function run(service: Service, records: ImportData): Promise<ImportProgress[]> {
    const all: ImportProgress[] = [];
    const onProgress = (progress: ImportProgress) => {
      all.push(progress);
      // The next batch is seen once before it ends.
      if (progress.status === 'completed') service.pendingPolls = 1;
    };
    service.pendingPolls = 1;
    for await (const _ of service.client().bulk.importAll({ resourceType: 'Patient', records, onProgress }));
    return all;
  }
  const told = (all: ImportProgress[]) =>
    all.map(({ index, status, batch, all }) => [
      ...[index, status, batch.processedRecords, batch.totalRecords],
      ...[all.processedRecords, all.totalRecords],
    ]);

  const known: Record<string, () => ImportData> = {
    'an array': () => [...people(12_000)],
    'a set': () => new Set(people(12_000)),
    text: () => LINES.join('\n'),
    'a file': () => new Blob([LINES.join('\n'), '\n']),
  };
  for (const [form, records] of Object.entries(known)) {
    test(`is told within each batch and over the whole of ${form}`, async () => {
      const service = await start();
      const all = await run(service, records());
      // The stub tells of one record done while a job runs.
      assert.deepEqual(told(all), [
        [0, 'processing', 1, 10_000, 1, 12_000],
        [0, 'completed', 10_000, 10_000, 10_000, 12_000],
        [1, 'processing', 1, 2_000, 10_001, 12_000],
        [1, 'completed', 2_000, 2_000, 12_000, 12_000],
      ]);
      assert.deepEqual([...new Set(all.map(({ jobId }) => jobId))], [...service.jobs.keys()]);
    });
  }

  test('does not say how many records a generator will give', async () => {
    const all = await run(await start(), people(10_001));
    assert.deepEqual(told(all).at(-1), [1, 'completed', 1, 1, 10_001, undefined]);
    assert.ok(all.every((progress) => !('totalRecords' in progress.all)));
  });

  test('counts duplicates as done: at the end all is', async () => {
    const records = [...people(10_000), ...people(3), { lastName: 'Doe' }, ...people(2)];
    const all = await run(await start(), records);
    assert.deepEqual(told(all), [
      [0, 'processing', 1, 10_000, 4, 10_006],
      [0, 'completed', 10_000, 10_000, 10_003, 10_006],
      [1, 'processing', 1, 1, 10_006, 10_006],
      [1, 'completed', 1, 1, 10_006, 10_006],
    ]);
  });

  test('knows how many records a batch has before the service does', async () => {
    const service = await start();
    const id = service.addJob(
      'import',
      {},
      { totalRecords: 2, processedRecords: 2, succeededRecords: 2, failedRecords: 0 },
    );
    service.api.next('POST /v1/bulk/import', success(202, { jobId: id, status: 'pending', message: 'Job started' }));
    const job = service.jobs.get(id)?.job;
    service.api.next('GET', success(200, { ...job, status: 'pending', totalRecords: 0, processedRecords: 0 }));
    service.pendingPolls = 0;
    const all: ImportProgress[] = [];
    const request = { resourceType: 'Patient', records: [...people(2)] } as const;
    for await (const _ of service.client().bulk.importAll({ ...request, onProgress: (each) => all.push(each) }));
    assert.deepEqual(told(all), [
      [0, 'pending', 0, 2, 0, 2],
      [0, 'completed', 2, 2, 2, 2],
    ]);
  });

  test('an error of onProgress reaches the caller, and a promise is waited for', async () => {
    for (const fail of [() => Promise.reject(new Error('mine')), () => assert.fail('mine')]) {
      const service = await start();
      const request = { resourceType: 'Patient', records: [...people(2)], onProgress: fail } as const;
      const running = async () => {
        for await (const _ of service.client().bulk.importAll(request));
      };
      await assert.rejects(running(), { message: 'mine' });
      assert.equal(service.api.received('GET').length, 1);
    }
  });
});
