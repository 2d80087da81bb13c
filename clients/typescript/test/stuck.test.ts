import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bulk, ImportData } from '../src/index.js';
import { assertClosed } from './closed.js';
import { services } from './services.js';

// By itself, since what it waits for must not wait for other tests.
describe('a source of records', { concurrency: true }, () => {
  const start = services();
  type Pull = (bulk: Bulk, source: ImportData, signal: AbortSignal) => Promise<unknown>;
  const pulls: Record<string, Pull> = {
    importAll: ({ importAll }, records, signal) => drain(importAll({ resourceType: 'Patient', records }, { signal })),
    import: (bulk, data, signal) => bulk.import({ resourceType: 'Patient', data }, { signal }),
    validate: ({ validate }, data, signal) => validate({ resourceType: 'Patient', data }, { signal }),
  };
  const stuck = new Promise<never>(() => undefined);
  const record = { lastName: 'Doe' };
  for (const [name, pull] of Object.entries(pulls)) {
    test(`that stops to yield is left, and closed, when ${name} is aborted`, async () => {
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
        await assert.rejects(Promise.race([running, sleep(30_000, undefined, { ref: false })]), {
          name: 'TimeoutError',
        });
        await assertClosed(service, signal);
        assert.equal(service.api.requests.length, 0);
      };
      await Promise.all([iterable, readable, blob, generator, [record, stuck]].map(leave));
      assert.equal(closed, 1);
      assert.ok(readable.destroyed);
    });
  }

  test('that stops to yield in a later batch is left when importAll is aborted', async () => {
    const service = await start();
    const controller = new AbortController();
    const { signal } = controller;
    const source = async function* () {
      for (let n = 0; n <= 10_000; n++) yield record;
      setTimeout(() => controller.abort(), 50);
      await stuck;
    };
    const running = pulls.importAll?.(service.client().bulk, source(), signal);
    await assert.rejects(Promise.race([running, sleep(30_000, undefined, { ref: false })]), { name: 'AbortError' });
    await assertClosed(service, signal);
    assert.equal(service.jobs.size, 1);
  });

  test('is closed where what reads it ends early, and not where it has ended itself', async () => {
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
});

async function drain(items: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of items);
}
