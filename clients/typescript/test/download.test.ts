import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import { inspect } from 'node:util';
import { KEY } from './service.js';
import { services } from './services.js';

const NAME = 'export.ndjson';

describe('downloads', () => {
  const start = services();

  test('a file arrives whole', async () => {
    const service = await start();
    const content = randomBytes(3_000_000);
    const id = service.addJob('export', { [NAME]: content });
    const received = await read(await service.client().bulk.download(id));
    assert.ok(received.equals(content));
    assert.equal(service.store.requests.length, 1);
  });

  test('the redirect is followed by hand, with neither key nor any other header of ours', async () => {
    const service = await start();
    const id = service.addJob('export', { [NAME]: 'x\n' });
    await read(await service.client().bulk.download(id, NAME));
    const [link] = service.api.received(`GET /v1/bulk/jobs/${id}/files/${NAME}`);
    assert.equal(link?.headers['x-api-key'], KEY);
    const [get] = service.store.requests;
    assert.equal(get?.query.get('X-Amz-Signature'), 'secret');
    assert.ok(!inspect(get?.headers).includes(KEY));
    for (const name of ['x-api-key', 'authorization', 'idempotency-key', 'range', 'if-match']) {
      assert.equal(get?.headers[name], undefined, name);
    }
  });

  test('a redirect to what is no safe URL is not followed', async () => {
    const service = await start();
    const id = service.addJob('export', { [NAME]: 'x\n' });
    for (const location of ['ftp://example.com/x', 'file:///etc/passwd', 'http://']) {
      service.api.next(`GET /v1/bulk/jobs/${id}/files/${NAME}`, {
        status: 307,
        headers: { location, 'x-request-id': 'req_1' },
      });
      await assert.rejects(service.client().bulk.download(id, NAME), { code: 'INVALID_RESPONSE' });
    }
    assert.equal(service.store.requests.length, 0);
  });

  test('a connection that breaks is resumed by range, of the same content', async () => {
    const service = await start();
    const content = randomBytes(1_000_000);
    const id = service.addJob('export', { [NAME]: content });
    const etag = `"${createHash('sha256').update(content).digest('hex').slice(0, 32)}"`;
    const whole = { headers: { etag }, body: content };
    service.store.next('GET', { ...whole, cutAfter: 400_000 }, { refuse: true });
    const received = await read(await service.client().bulk.download(id));
    assert.ok(received.equals(content));
    const ranges = service.store.requests.map(({ headers }) => [headers.range, headers['if-match']]);
    assert.equal(ranges[0]?.[0], undefined);
    assert.match(ranges[1]?.[0] ?? '', /^bytes=[1-9]\d*-$/);
    assert.deepEqual(ranges[1], ranges[2]);
    assert.equal(ranges[2]?.[1], etag);
    // Each time by a fresh link.
    assert.equal(service.api.received(`GET /v1/bulk/jobs/${id}/files/${NAME}`).length, 3);
  });

  test('a store that sends the whole again is read past what is there', async () => {
    const service = await start();
    const content = randomBytes(1_000_000);
    const id = service.addJob('export', { [NAME]: content });
    service.store.next('GET', { body: content, cutAfter: 400_000 }, { status: 200, body: content });
    const received = await read(await service.client().bulk.download(id));
    assert.ok(received.equals(content));
  });

  test('a connection that stalls is resumed', async () => {
    const service = await start();
    const content = randomBytes(500_000);
    const id = service.addJob('export', { [NAME]: content });
    service.store.next('GET', { body: content, stallAfter: 1_000 });
    const received = await read(await service.client({ timeout: 1_000 }).bulk.download(id));
    assert.ok(received.equals(content));
    assert.equal(service.store.requests.length, 2);
  });

  test('a consumer that is slow is no time-out', async () => {
    const service = await start();
    const content = randomBytes(2_000_000);
    const id = service.addJob('export', { [NAME]: content });
    const stream = await service.client({ timeout: 1_500, retries: 0 }).bulk.download(id);
    const chunks: Uint8Array[] = [];
    for await (const chunk of stream) {
      if (chunks.length === 0) await new Promise((resolve) => setTimeout(resolve, 2_500));
      chunks.push(chunk);
    }
    assert.ok(Buffer.concat(chunks).equals(content));
  });

  test('a first connection that breaks again and again is an error of the call', async () => {
    const service = await start();
    const id = service.addJob('export', { [NAME]: 'x\n' });
    service.store.next('GET', { refuse: true }, { refuse: true });
    await assert.rejects(service.client({ retries: 1 }).bulk.download(id), { code: 'NETWORK_ERROR' });
    assert.equal(service.store.requests.length, 2);
  });

  test('a connection that breaks for more than ten minutes, or is always short, is an error', async (context) => {
    const service = await start();
    const content = randomBytes(100_000);
    const id = service.addJob('export', { [NAME]: content });
    const real = performance.now.bind(performance);
    for (const [reply, code] of [
      [{ body: content, cutAfter: 0 }, 'NETWORK_ERROR'],
      [{ body: content.subarray(1) }, 'DOWNLOAD_INCOMPLETE'],
    ] as const) {
      const before = service.store.requests.length;
      const later = () => {
        context.mock.method(performance, 'now', () => real() + 601_000);
        return reply;
      };
      service.store.next('GET', reply, reply, later);
      await assert.rejects(async () => read(await service.client().bulk.download(id)), { status: 0, code });
      assert.equal(service.store.requests.length, before + 3);
      context.mock.restoreAll();
    }
  });

  test('content that has changed since is an error', async () => {
    const service = await start();
    const content = randomBytes(500_000);
    const id = service.addJob('export', { [NAME]: content });
    service.store.next('GET', { headers: { etag: '"old"' }, body: content, cutAfter: 1_000 });
    await assert.rejects(async () => read(await service.client().bulk.download(id)), { code: 'FILE_CHANGED' });
  });

  test('a wrong hash and a wrong length are errors in place of the end', async () => {
    const service = await start();
    const content = randomBytes(100_000);
    const id = service.addJob('export', { [NAME]: content });
    const other = Buffer.from(content);
    other[50_000] = (other[50_000] ?? 0) ^ 1;
    for (const body of [other, Buffer.concat([content, Buffer.of(1)])]) {
      service.store.next('GET', { body });
      const stream = await service.client().bulk.download(id);
      let received = 0;
      await assert.rejects(
        async () => {
          for await (const chunk of stream) received += chunk.byteLength;
        },
        { code: 'CHECKSUM_MISMATCH' },
      );
      assert.equal(received, body.byteLength);
    }
  });

  test('a link that has expired on the way is asked for again; a file that is gone is an error', async () => {
    const service = await start();
    const id = service.addJob('export', { [NAME]: 'x\n' });
    service.store.next('GET', { status: 403, body: '<Error>Request has expired</Error>' });
    assert.equal((await read(await service.client().bulk.download(id))).toString(), 'x\n');
    service.store.next('GET', { status: 403 }, { status: 404 });
    await assert.rejects(service.client().bulk.download(id), { code: 'FILE_GONE' });
    assert.equal(service.store.requests.length, 4);
  });

  test('a store that is busy is tried again', async () => {
    const service = await start();
    const id = service.addJob('export', { [NAME]: 'x\n' });
    service.store.next('GET', { status: 503, body: '<Error>SlowDown</Error>' }, { refuse: true });
    assert.equal((await read(await service.client().bulk.download(id))).toString(), 'x\n');
  });

  test('an unknown file, a job that runs and one that has failed are errors of the call', async () => {
    const service = await start();
    const { bulk } = service.client();
    const id = service.addJob('export', { [NAME]: 'x\n' });
    for (const unknown of [bulk.download(id, 'Patient.ndjson'), drain(bulk.records(id, { name: 'Patient.ndjson' }))]) {
      await assert.rejects(unknown, {
        ...{ name: 'ClinikValidationError', status: 0, code: 'FILE_NAME_UNKNOWN' },
        message: `name: the job has no such file; its files: ${NAME}`,
      });
    }
    assert.equal(service.api.received('GET /Patient.ndjson').length, 0);
    await assert.rejects(bulk.download(id, '../x'), TypeError);
    await assert.rejects(bulk.download('job_1'), { name: 'ClinikNotFoundError' });
    service.pendingPolls = 1;
    await assert.rejects(bulk.download(id), { code: 'JOB_NOT_COMPLETED', message: /processing/ });
    const errors = [{ code: 'cancelled', message: 'Cancelled' }];
    const failed = service.addJob('export', {}, { status: 'failed', errors });
    await assert.rejects(bulk.download(failed), { code: 'JOB_NOT_COMPLETED', message: /Cancelled/ });
  });

  test('several files need a name; the list of hashes is one of them', async () => {
    const service = await start();
    const { bulk } = service.client();
    const id = service.addJob('export', { 'Patient.ndjson': '{}\n', 'Task.ndjson': '' });
    await assert.rejects(bulk.download(id), { code: 'FILE_NAME_REQUIRED', message: /Patient\.ndjson, Task\.ndjson/ });
    assert.equal((await read(await bulk.download(id, 'Task.ndjson'))).byteLength, 0);
    assert.match((await read(await bulk.download(id, 'SHA256SUMS'))).toString(), /^[0-9a-f]{64} {2}Patient\.ndjson\n/);
  });

  test('an aborted signal stops it before, during and between reads', async () => {
    const service = await start();
    const content = randomBytes(2_000_000);
    const id = service.addJob('export', { [NAME]: content });
    const { bulk } = service.client();
    await assert.rejects(bulk.download(id, NAME, { signal: AbortSignal.abort() }), { name: 'AbortError' });

    for (const server of [service.api, service.store]) {
      const controller = new AbortController();
      server.next(server === service.store ? 'GET' : `GET /files/${NAME}`, () => {
        controller.abort();
        return { hang: true };
      });
      await assert.rejects(bulk.download(id, NAME, { signal: controller.signal }), { name: 'AbortError' });
    }

    service.store.next('GET', { body: content, stallAfter: 10 });
    await assert.rejects(async () => read(await bulk.download(id, NAME, { signal: AbortSignal.timeout(300) })), {
      name: 'TimeoutError',
    });

    const controller = new AbortController();
    const stream = await bulk.download(id, NAME, { signal: controller.signal });
    await assert.rejects(
      async () => {
        for await (const _ of stream) controller.abort(new Error('enough'));
      },
      { message: 'enough' },
    );
  });

  test('leaving a download early closes it', async () => {
    const service = await start();
    const id = service.addJob('export', { [NAME]: '{"n":1}\n'.repeat(500_000) });
    for await (const chunk of await service.client().bulk.download(id)) {
      assert.ok(chunk.byteLength > 0);
      break;
    }
    for await (const record of service.client().bulk.records<{ n: number }>(id)) {
      assert.equal(record.n, 1);
      break;
    }
  });
});

async function read(stream: ReadableStream<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function drain(items: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of items);
}
