import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { assertClosed } from './closed.js';
import { failure } from './service.js';
import { services } from './services.js';

const TEXT = '{"n":1}\n'.repeat(1_000_000);
const NAMES = ['export.ndjson', 'export.ndjson.gz'] as const;

describe('what has ended is closed', { concurrency: true }, () => {
  const start = services();
  // Compressed so little that it is sent in many pieces.
  const content = { [NAMES[0]]: TEXT, [NAMES[1]]: gzipSync(TEXT, { level: 0 }) };

  for (const name of NAMES) {
    test(`leaving the records or lines of ${name} early`, async () => {
      const service = await start();
      const id = service.addJob('export', { [name]: content[name] });
      const { signal } = new AbortController();
      const { bulk } = service.client();
      for await (const _ of bulk.records(id, { signal })) break;
      await assertClosed(service, signal);
      for await (const _ of bulk.lines(id, { signal })) break;
      await assertClosed(service, signal);
    });

    test(`an error of the caller's in the loop over ${name}`, async () => {
      const service = await start();
      const id = service.addJob('export', { [name]: content[name] });
      const { signal } = new AbortController();
      const loop = async () => {
        for await (const _ of service.client().bulk.records(id, { signal })) throw new Error('mine');
      };
      await assert.rejects(loop(), { message: 'mine' });
      await assertClosed(service, signal);
    });
  }

  test('leaving a download early, and a sink that fails', async () => {
    const service = await start();
    const id = service.addJob('export', { [NAMES[0]]: TEXT });
    const { signal } = new AbortController();
    const { bulk } = service.client();
    for await (const _ of await bulk.download(id, NAMES[0], { signal })) break;
    await assertClosed(service, signal);
    const stream = await bulk.download(id, NAMES[0], { signal });
    const sink = new Writable({ write: (_, __, done) => done(new Error('disk full')) });
    await assert.rejects(pipeline(Readable.fromWeb(stream as never), sink), { message: 'disk full' });
    await assertClosed(service, signal);
  });

  test('a download that is cancelled while it waits for bytes does not connect anew', async () => {
    const service = await start();
    const id = service.addJob('export', { [NAMES[0]]: TEXT });
    const { signal } = new AbortController();
    service.store.next('GET', { body: TEXT, stallAfter: 10 });
    const reader = (await service.client().bulk.download(id, NAMES[0], { signal })).getReader();
    await reader.read();
    const pending = reader.read();
    // Until the stream has been asked for them.
    await sleep(50);
    await reader.cancel();
    assert.equal((await pending).done, true);
    await assertClosed(service, signal);
    assert.equal(service.store.requests.length, 1);
  });

  test('a download that is cancelled while it connects anew, or pauses before, stops doing so', async () => {
    for (const reply of [{ hang: true }, { refuse: true }]) {
      const service = await start();
      const id = service.addJob('export', { [NAMES[0]]: TEXT });
      const { signal } = new AbortController();
      service.store.next('GET', { body: TEXT, cutAfter: 10 }, reply);
      const reader = (await service.client().bulk.download(id, NAMES[0], { signal })).getReader();
      await reader.read();
      const pending = reader.read();
      while (service.store.requests.length < 2) await sleep(10);
      await reader.cancel();
      assert.equal((await pending).done, true);
      await assertClosed(service, signal);
    }
  });

  test('whatever has ended well, or badly', async () => {
    const service = await start();
    const id = service.addJob('export', { [NAMES[0]]: '{"n":1}\n', 'gone.ndjson': '' });
    const { signal } = new AbortController();
    const { bulk } = service.client({ retries: 0 });
    for await (const _ of bulk.lines(id, { signal, name: NAMES[0] }));
    await bulk.waitForJob(id, { signal });
    await bulk.import({ resourceType: 'Patient', data: [{ lastName: 'Doe' }] }, { signal });
    const records = [{ lastName: 'Doe' }];
    for await (const _ of bulk.importAll({ resourceType: 'Patient', records }, { signal }));

    service.store.next('GET', { refuse: true });
    await assert.rejects(bulk.download(id, NAMES[0], { signal }), { code: 'NETWORK_ERROR' });
    service.store.next('GET', { status: 404 }, { status: 404 });
    await assert.rejects(bulk.download(id, NAMES[0], { signal }), { code: 'FILE_GONE' });
    await assert.rejects(bulk.download(id, 'unknown.ndjson', { signal }), { code: 'FILE_NAME_UNKNOWN' });
    service.store.next('GET', { body: '{"n":2}\n' });
    const wrong = async () => {
      for await (const _ of bulk.records(id, { signal, name: NAMES[0] }));
    };
    await assert.rejects(wrong(), { code: 'CHECKSUM_MISMATCH' });
    await assert.rejects(bulk.waitForJob('job_1', { signal }), { code: 'NOT_FOUND' });
    service.api.next('POST /v1/bulk/import', failure(422, 'VALIDATION_ERROR', 'data: Required'));
    await assert.rejects(bulk.import({ resourceType: 'Patient', data: '' }, { signal }), { status: 422 });
    assert.equal(getEventListeners(signal, 'abort').length, 0);
  });
});
