import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import type { Bulk, ImportData } from '../src/index.js';
import { failure, type Service } from './service.js';
import { services } from './services.js';

const TEXT = '{"n":1}\n'.repeat(1_000_000);
const NAMES = ['export.ndjson', 'export.ndjson.gz'] as const;

describe('what has ended is closed', { concurrency: true }, () => {
  const start = services();
  // Compressed so little that it is sent in many pieces.
  const content = { [NAMES[0]]: TEXT, [NAMES[1]]: gzipSync(TEXT, { level: 0 }) };

  /** No listener, no connection to the store, and no request any more. */
  async function assertClosed(service: Service, signal: AbortSignal): Promise<void> {
    assert.equal(getEventListeners(signal, 'abort').length, 0, 'listeners');
    const requests = service.api.requests.length + service.store.requests.length;
    // Longer than the first pause before a new connection.
    await sleep(900);
    assert.equal(service.api.requests.length + service.store.requests.length, requests, 'requests');
    assert.deepEqual([service.api.busy, service.store.busy], [0, 0], 'connections');
    assert.equal(getEventListeners(signal, 'abort').length, 0, 'listeners');
  }

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

  type Pull = (bulk: Bulk, source: ImportData, signal: AbortSignal) => Promise<unknown>;
  const pulls: Record<string, Pull> = {
    importAll: ({ importAll }, records, signal) => drain(importAll({ resourceType: 'Patient', records }, { signal })),
    import: (bulk, data, signal) => bulk.import({ resourceType: 'Patient', data }, { signal }),
    validate: ({ validate }, data, signal) => validate({ resourceType: 'Patient', data }, { signal }),
  };
  const stuck = new Promise<never>(() => undefined);
  const record = { lastName: 'Doe' };
  for (const [name, pull] of Object.entries(pulls)) {
    test(`a source that stops to yield is left, and closed, when ${name} is aborted`, async () => {
      let made = 0;
      let closed = 0;
      const next = async () => (made++ === 0 ? { value: record } : stuck);
      const end = async () => {
        closed++;
        return { value: undefined, done: true as const };
      };
      const iterable = { [Symbol.asyncIterator]: () => ({ next, return: end }) };
      const readable = new Readable({ objectMode: true, read() {} });
      readable.push(record);
      const blob = { size: 1, slice: () => blob, arrayBuffer: () => stuck };
      const generator = (async function* () {
        yield record;
        await stuck;
      })();
      const leave = async (source: ImportData) => {
        const service = await start();
        const signal = AbortSignal.timeout(100);
        const running = pull(service.client().bulk, source, signal);
        await assert.rejects(Promise.race([running, sleep(10_000)]), { name: 'TimeoutError' });
        await assertClosed(service, signal);
        assert.equal(service.api.requests.length, 0);
      };
      await Promise.all([iterable, readable, blob, generator, [record, stuck]].map(leave));
      assert.equal(closed, 1);
      assert.ok(readable.destroyed);
    });
  }

  test('a source that stops to yield in a later batch is left when importAll is aborted', async () => {
    const service = await start();
    const controller = new AbortController();
    const { signal } = controller;
    const source = async function* () {
      for (let n = 0; n <= 10_000; n++) yield record;
      setTimeout(() => controller.abort(), 50);
      await stuck;
    };
    const running = pulls.importAll?.(service.client().bulk, source(), signal);
    await assert.rejects(Promise.race([running, sleep(10_000)]), { name: 'AbortError' });
    await assertClosed(service, signal);
    assert.equal(service.jobs.size, 1);
  });

  test('a source is closed where what reads it ends early, and not where it has ended itself', async () => {
    const service = await start();
    for (const signal of [undefined, new AbortController().signal]) {
      const options = signal === undefined ? {} : { signal };
      const { bulk } = service.client();
      const seen: string[] = [];
      const source = (count: number) => {
        let made = 0;
        const next = () =>
          made++ < count ? { value: { lastName: 'Doe' } } : { value: undefined, done: true as const };
        const end = () => {
          seen.push('closed');
          return { value: undefined, done: true as const };
        };
        return { [Symbol.iterator]: () => ({ next, return: end }) };
      };
      await bulk.import({ resourceType: 'Patient', data: source(5) }, options);
      assert.deepEqual(seen, []);
      await assert.rejects(bulk.import({ resourceType: 'Patient', data: source(20_000) }, options), { status: 0 });
      assert.deepEqual(seen, ['closed']);
      for await (const _ of bulk.importAll({ resourceType: 'Patient', records: source(20_000) }, options)) break;
      assert.deepEqual(seen, ['closed', 'closed']);
      const failing = (async function* () {
        yield { lastName: 'Doe' };
        throw new Error('mine');
      })();
      await assert.rejects(bulk.import({ resourceType: 'Patient', data: failing }, options), { message: 'mine' });
      if (signal !== undefined) await assertClosed(service, signal);
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

async function drain(items: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of items);
}
