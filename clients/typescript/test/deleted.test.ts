import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { inspect } from 'node:util';
import type { DeletedRecord } from '../src/index.js';
import { services } from './services.js';

const SINCE = '2026-01-14T00:00:00.000Z';
const deletedAt = '2026-01-15T09:15:00.000Z';
const GONE: DeletedRecord[] = [
  { resourceType: 'Patient', id: 'p-2', deletedAt },
  { resourceType: 'Observation', id: '.', deletedAt },
];
const NAME = 'deleted.ndjson';

describe('deleted records', () => {
  const start = services();

  test('are told by an export with since, and are neither records nor lines of it', async () => {
    const service = await start();
    const { bulk } = service.client();
    service.records.set('p-1', { resourceType: 'Patient', id: 'p-1' });
    service.deletions.push(...GONE);
    for (const more of [{}, { files: 'perType' }, { compression: 'gzip' }] as const) {
      const { data } = await bulk.export({ resourceTypes: ['Patient', 'Observation'], since: SINCE, ...more });
      const { data: job } = await bulk.waitForJob(data.jobId);
      assert.equal(job.files?.length, 2);
      assert.equal(job.totalRecords, 1);
      assert.deepEqual(await collect(bulk.deleted(job.id)), GONE);
      assert.deepEqual(await collect(bulk.records(job.id)), [{ resourceType: 'Patient', id: 'p-1' }]);
      assert.deepEqual(await collect(bulk.lines(job.id)), ['{"resourceType":"Patient","id":"p-1"}']);
      // Without a name it is the file with the records that is downloaded.
      const file = Buffer.from(await new Response(await bulk.download(job.id)).arrayBuffer());
      assert.equal(file.byteLength, job.files?.find(({ name }) => name !== NAME)?.bytes);
      await assert.rejects(collect(bulk.records(job.id, { name: NAME })), {
        ...{ code: 'FILE_NAME_UNKNOWN', message: /bulk\.deleted/ },
      });
    }
  });

  test('are none where nothing was deleted, and of an export of everything', async () => {
    const service = await start();
    const { bulk } = service.client();
    const since = await bulk.export({ resourceTypes: ['Patient'], since: SINCE });
    service.deletions.push(...GONE);
    const all = await bulk.export({ resourceTypes: ['Patient'] });
    for (const { data } of [since, all]) assert.deepEqual(await collect(bulk.deleted(data.jobId)), []);
  });

  test('may be all that an export tells of', async () => {
    const service = await start();
    const { bulk } = service.client();
    const id = service.addJob('export', { [NAME]: `${JSON.stringify(GONE[0])}\n` });
    assert.deepEqual(await collect(bulk.deleted(id)), GONE.slice(0, 1));
    assert.deepEqual(await collect(bulk.records(id)), []);
    await assert.rejects(bulk.download(id), { code: 'FILE_NAME_REQUIRED', message: /deleted\.ndjson/ });
  });

  test('are verified and counted to the end of their file', async () => {
    const service = await start();
    const { bulk } = service.client();
    const line = `${JSON.stringify(GONE[0])}\n`;
    const id = service.addJob('export', { [NAME]: line });
    service.store.next('GET', { body: line.replace('p-2', 'p-3') });
    const told: unknown[] = [];
    const deleting = async () => {
      for await (const one of bulk.deleted(id)) told.push(one);
    };
    await assert.rejects(deleting(), { code: 'CHECKSUM_MISMATCH' });
    assert.deepEqual(told, [], 'nobody has deleted the living one');
    for (const file of service.jobs.get(id)?.job.files ?? []) file.records = 2;
    await assert.rejects(collect(bulk.deleted(id)), { code: 'COUNT_MISMATCH' });
  });

  test('have a type and an id, and a line that has none is not shown', async () => {
    const service = await start();
    const { bulk } = service.client();
    for (const line of ['{"id":"Jane"}', '{"resourceType":"Patient","id":""}', 'null', '"Jane"', '{"Jane"']) {
      const id = service.addJob('export', { [NAME]: `${JSON.stringify(GONE[0])}\n${line}\n` });
      await assert.rejects(collect(bulk.deleted(id)), (error: Error) => {
        assert.match(error.message, /^deleted\.ndjson: line 2 /);
        assert.doesNotMatch(inspect(error), /Jane/);
        return true;
      });
    }
  });

  test('are no part of an import', async () => {
    const service = await start();
    const id = service.addJob('import', {});
    await assert.rejects(collect(service.client().bulk.deleted(id)), { message: /no export/ });
  });
});

async function collect(items: AsyncIterable<unknown>): Promise<unknown[]> {
  const all: unknown[] = [];
  for await (const item of items) all.push(item);
  return all;
}
