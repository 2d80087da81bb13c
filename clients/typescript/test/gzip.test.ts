import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { Clinik } from '../src/index.js';
import { KEY, success } from './service.js';
import { services } from './services.js';

const started = success(202, { jobId: 'job_1', status: 'pending', message: 'Job started' });
const report = {
  totalRecords: 1,
  validRecords: 1,
  invalidRecords: 0,
  errors: [],
  errorCount: 0,
  errorsTruncated: false,
};
/** Records of so many bytes as the body of a call. */
const text = (bytes: number) => {
  const empty = JSON.stringify({ resourceType: 'Patient', data: '{"lastName":""}' });
  return `{"lastName":"${'x'.repeat(bytes - empty.length)}"}`;
};

describe('the body of a call', () => {
  const start = services();

  test('is compressed from 1 KiB on, as the one type that reaches the service as bytes', async () => {
    const service = await start();
    const { bulk } = service.client();
    const label = 'night';
    const resourceTypes = Array(200).fill('Patient');
    const ways: Record<string, [match: string, send: () => Promise<unknown>]> = {
      import: ['POST /import', () => bulk.import({ resourceType: 'Patient', data: text(5_000), label })],
      validate: ['POST /validate', () => bulk.validate({ resourceType: 'Patient', data: text(5_000) })],
      export: ['POST /export', () => bulk.export({ resourceTypes })],
    };
    for (const [way, [match, send]] of Object.entries(ways)) {
      await send();
      const [request] = service.api.received(match);
      const { headers, body } = request ?? { headers: {}, body: Buffer.of() };
      assert.deepEqual(
        [headers['content-type'], headers['content-encoding'], headers['content-length']],
        ['application/fhir+json', 'gzip', String(body.byteLength)],
        way,
      );
      assert.ok(body.byteLength < 300, `${body.byteLength} bytes`);
      assert.ok(JSON.parse(gunzipSync(body).toString()));
    }
  });

  test('is sent as it is below, and where gzip makes it no smaller', async () => {
    const service = await start();
    const { bulk } = service.client();
    const dense = randomBytes(900).toString('base64');
    for (const data of [text(1_023), '{"lastName":"Doe"}']) {
      await bulk.import({ resourceType: 'Patient', data });
      const request = service.api.requests.at(-1);
      assert.equal(request?.headers['content-type'], 'application/json');
      assert.equal(request?.headers['content-encoding'], undefined);
      assert.equal(JSON.parse(request?.body.toString() ?? '').data, data);
    }
    await bulk.import({ resourceType: 'Patient', data: text(1_024) });
    assert.equal(service.api.requests.at(-1)?.headers['content-encoding'], 'gzip');
    // Base64 shrinks by a quarter, and not to nothing.
    await bulk.import({ resourceType: 'Patient', data: `{"lastName":"${dense}"}` });
    assert.ok((service.api.requests.at(-1)?.body.byteLength ?? 0) < dense.length);
  });

  test('is the same over all attempts and calls, so that a key finds its job', async () => {
    const service = await start();
    const { bulk } = service.client();
    const request = { resourceType: 'Patient', data: text(5_000) } as const;
    service.api.next('POST /v1/bulk/import', { refuse: true });
    const first = await bulk.import(request, { idempotencyKey: 'night' });
    const second = await bulk.import(request, { idempotencyKey: 'night' });
    assert.equal(first.data.jobId, second.data.jobId);
    const bodies = service.api.requests.map(({ body }) => body.toString('hex'));
    assert.deepEqual([bodies.length, new Set(bodies).size], [3, 1]);
  });

  test('is bytes for a fetch of the user’s own, compressed or not', async () => {
    const bodies: unknown[] = [];
    const fetch: typeof globalThis.fetch = async (input, init) => {
      bodies.push(init?.body);
      return Response.json(String(input).endsWith('validate') ? { data: report } : started.json, { status: 202 });
    };
    const { bulk } = new Clinik(KEY, { fetch });
    for (const data of [text(100), text(5_000)]) {
      await bulk.import({ resourceType: 'Patient', data });
      await bulk.validate({ resourceType: 'Patient', data });
    }
    assert.equal(bodies.length, 4);
    for (const body of bodies) {
      assert.ok(body instanceof Uint8Array);
      assert.equal(Object.getPrototypeOf(body), Uint8Array.prototype);
    }
  });

  test('that is being compressed is left by an aborted signal', async () => {
    const service = await start();
    const controller = new AbortController();
    const data = text(2_500_000);
    const failed = service.client().bulk.validate({ resourceType: 'Patient', data }, { signal: controller.signal });
    controller.abort();
    await assert.rejects(failed, { name: 'AbortError' });
    assert.equal(service.api.requests.length, 0);
  });
});
