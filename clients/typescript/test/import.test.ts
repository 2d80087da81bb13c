import assert from 'node:assert/strict';
import { openAsBlob } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { inspect } from 'node:util';
import { gzipSync } from 'node:zlib';
import type { ClinikApiError, RecordOf } from '../src/index.js';
import { bodyOf, failure, inflate, type Service } from './service.js';
import { services } from './services.js';

const POST = 'POST /v1/bulk/import';
const patients = (count: number, more = {}) =>
  Array.from({ length: count }, (_, n) => ({ lastName: `Doe ${n}`, ...more }));

describe('imports', () => {
  const start = services();
  const body = (service: Service) => JSON.parse(bodyOf(service.api.received(POST)[0]));

  test('text is sent as it is', async () => {
    const service = await start();
    const data = '{"lastName":"Doe","weight":1.10}\r\n{"lastName":"Müller 🩺"}\n';
    const { data: started, meta } = await service.client().bulk.import({ resourceType: 'Patient', data, label: 'a 1' });
    assert.equal(started.status, 'pending');
    assert.equal(meta.status, 202);
    assert.deepEqual(body(service), { resourceType: 'Patient', data, label: 'a 1' });
    assert.equal(service.api.requests[0]?.headers['content-type'], 'application/json');
  });

  test('objects become lines, from arrays, generators and asynchronous generators', async () => {
    const records: RecordOf<'Patient'>[] = [
      { firstName: 'Jane', lastName: 'Doe', gender: 'female' },
      { id: 'p-2', firstName: 'John', lastName: 'Line\nbreak \u2028' },
    ];
    const expected = records.map((record) => JSON.stringify(record)).join('\n');
    const sources = [
      records,
      new Set(records),
      (function* () {
        yield* records;
      })(),
      (async function* () {
        yield* records;
      })(),
    ];
    for (const data of sources) {
      const service = await start();
      await service.client().bulk.import({ resourceType: 'Patient', data });
      assert.equal(body(service).data, expected);
    }
  });

  test('what is no record is refused without showing it', async () => {
    const service = await start();
    const circular: Record<string, unknown> = { secret: 'Jane' };
    circular.self = circular;
    for (const record of ['Jane', null, 7, ['Jane'], circular, { secret: 7n }]) {
      const data = [{ lastName: 'Doe' }, record as object];
      await assert.rejects(
        service.client().bulk.import({ resourceType: 'Patient', data }),
        (error: Error) => error.name === 'TypeError' && /record 2/.test(error.message) && !/Jane/.test(inspect(error)),
      );
    }
    assert.equal(service.api.requests.length, 0);
  });

  test('a stream of bytes is not taken for records', async () => {
    const { bulk } = (await start()).client();
    const bytes = async function* () {
      yield Buffer.from('{"lastName":"Doe"}\n');
    };
    // @ts-expect-error the compiler does not take it either
    await assert.rejects(bulk.import({ resourceType: 'Patient', data: bytes() }), {
      name: 'TypeError',
      message: 'record 1: bytes, where objects are expected; for a file use fs.openAsBlob(path)',
    });
  });

  test('from 3,000,000 bytes of body on the records are uploaded', async () => {
    const service = await start();
    const { bulk } = service.client();
    const body = (length: number) => {
      const empty = JSON.stringify({ resourceType: 'Patient', data: '{"lastName":""}' });
      return `{"lastName":"${'x'.repeat(length - empty.length)}"}`;
    };
    await bulk.import({ resourceType: 'Patient', data: body(2_999_999) });
    assert.equal(bodyOf(service.api.received(POST)[0]).length, 2_999_999);
    assert.equal(service.store.requests.length, 0);

    const data = body(3_000_000);
    await bulk.import({ resourceType: 'Patient', data });
    const [created] = service.api.received('POST /v1/bulk/uploads');
    const [put] = service.store.requests;
    assert.deepEqual(JSON.parse(created?.body.toString() ?? ''), { bytes: put?.body.byteLength });
    // Compressed: a slow line has five minutes.
    assert.ok((put?.body.byteLength ?? 0) < 100_000);
    assert.equal(inflate(put?.body ?? Buffer.of()).toString(), data);
    const [upload] = service.uploads.keys();
    assert.deepEqual(JSON.parse(service.api.received(POST)[1]?.body.toString() ?? ''), {
      resourceType: 'Patient',
      uploadId: upload,
    });
  });

  test('an upload is PUT with its exact length and without a header of ours', async () => {
    const service = await start();
    const data = patients(10_000, { note: 'ü'.repeat(300) });
    await service.client().bulk.import({ resourceType: 'Patient', data });
    const [put] = service.store.requests;
    assert.equal(put?.method, 'PUT');
    assert.equal(put?.headers['content-length'], String(put?.body.byteLength));
    for (const name of ['x-api-key', 'authorization', 'idempotency-key', 'content-type', 'transfer-encoding']) {
      assert.equal(put?.headers[name], undefined, name);
    }
    assert.equal(service.records.size, 10_000);
  });

  test('a broken PUT is made again, a refused one is not', async () => {
    const service = await start();
    const data = patients(10_000, { note: 'x'.repeat(300) });
    service.store.next('PUT', { refuse: true }, { status: 503, body: '<Error>SlowDown</Error>' });
    await service.client().bulk.import({ resourceType: 'Patient', data });
    assert.equal(service.store.requests.length, 3);
    assert.equal(service.api.received('POST /v1/bulk/uploads').length, 1);

    service.store.next('PUT', { status: 403, body: '<Error>AccessDenied</Error>' });
    await assert.rejects(service.client().bulk.import({ resourceType: 'Patient', data }), {
      status: 403,
      code: 'UPLOAD_FAILED',
    });
    assert.equal(service.store.requests.length, 4);
  });

  test('10,000 records are taken, 10,001 are refused with a word about importAll', async () => {
    const service = await start();
    const { bulk } = service.client();
    const data = patients(10_001);
    const lines = data.map((record) => JSON.stringify(record));
    await bulk.import({ resourceType: 'Patient', data: data.slice(1) });
    await bulk.import({ resourceType: 'Patient', data: `${lines.slice(1).join('\n')}\n` });
    const calls = service.api.requests.length;
    for (const each of [data, lines.join('\n'), new Blob([lines.join('\n')])]) {
      await assert.rejects(bulk.import({ resourceType: 'Patient', data: each }), {
        name: 'ClinikValidationError',
        status: 0,
        code: 'TOO_MANY_RECORDS',
        message: /bulk\.importAll/,
      });
    }
    assert.equal(service.api.requests.length, calls);
  });

  test('more than 104,857,600 bytes are refused with a word about importAll', async () => {
    const service = await start();
    const blob = { size: 104_857_601, slice: () => blob, arrayBuffer: async () => new ArrayBuffer(0) };
    const big = { lastName: 'x'.repeat(1_000_000) };
    for (const data of [blob, Array.from({ length: 105 }, () => big)]) {
      await assert.rejects(service.client().bulk.import({ resourceType: 'Patient', data }), {
        code: 'BATCH_TOO_LARGE',
        message: /bulk\.importAll/,
      });
    }
  });

  test('a file is imported as a Blob, small in the call, large or gzipped by upload', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'clinikapi-'));
    try {
      const small = Buffer.from('{"lastName":"Doe"}\n{"lastName":"Roe"}');
      const large = Buffer.from(
        patients(10_000, { note: 'x'.repeat(300) })
          .map((each) => JSON.stringify(each))
          .join('\n'),
      );
      const invalid = Buffer.concat([small, Buffer.of(0xff)]);
      for (const [content, uploaded] of [
        [small, false],
        [large, true],
        [gzipSync(small), true],
        [invalid, true],
      ] as const) {
        const service = await start();
        const path = join(folder, 'patients.ndjson');
        await writeFile(path, content);
        await service.client().bulk.import({ resourceType: 'Patient', data: await openAsBlob(path) });
        const [put] = service.store.requests;
        assert.equal(put !== undefined, uploaded);
        if (put === undefined) assert.equal(body(service).data, small.toString());
        else assert.ok(inflate(put.body).equals(inflate(Buffer.from(content))));
      }
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test('half of a surrogate pair reaches the service as something it reports, never as another character', async () => {
    const service = await start();
    const data = `{"lastName":"Doe"}\n{"lastName":"\ud83d"}\n{"note":"${'x'.repeat(3_000_000)}"}`;
    await service.client().bulk.import({ resourceType: 'Patient', data });
    const sent = inflate(service.store.requests[0]?.body ?? Buffer.of());
    assert.throws(() => new TextDecoder('utf-8', { fatal: true }).decode(sent));
    assert.equal(sent.indexOf(0xff), '{"lastName":"Doe"}\n{"lastName":"'.length);
    assert.equal(sent.byteLength, data.length);
  });

  test('an upload can be made first, and imported under a key', async () => {
    const service = await start();
    const { bulk } = service.client();
    const { data } = await bulk.upload(Buffer.from('{"lastName":"Doe"}'));
    const request = { resourceType: 'Patient', uploadId: data.uploadId } as const;
    const first = await bulk.import(request, { idempotencyKey: 'k-1' });
    const second = await bulk.import(request, { idempotencyKey: 'k-1' });
    assert.equal(first.data.jobId, second.data.jobId);
    assert.equal(service.records.size, 1);
  });

  test('an aborted signal stops a generator, an upload and a start', async () => {
    const service = await start();
    const { bulk } = service.client();
    const controller = new AbortController();
    let made = 0;
    const endless = (function* () {
      for (;;) {
        if (++made === 100) controller.abort();
        yield { lastName: 'Doe' };
      }
    })();
    const failed = bulk.import({ resourceType: 'Patient', data: endless }, { signal: controller.signal });
    await assert.rejects(failed, { name: 'AbortError' });
    assert.equal(made, 100);
    assert.equal(service.api.requests.length, 0);

    const data = patients(10_000, { note: 'x'.repeat(300) });
    for (const [server, match] of [
      [service.api, 'POST /v1/bulk/uploads'],
      [service.store, 'PUT'],
      [service.api, POST],
    ] as const) {
      const controller = new AbortController();
      server.next(match, () => {
        controller.abort();
        return { hang: true };
      });
      const options = { signal: controller.signal };
      await assert.rejects(bulk.import({ resourceType: 'Patient', data }, options), { name: 'AbortError' });
    }
    assert.equal(service.api.received(POST).length, 1);
  });

  test('a validation answers at once; a large one is gzipped', async () => {
    const service = await start();
    const { bulk } = service.client();
    const { data: report } = await bulk.validate({ resourceType: 'Patient', data: [{ lastName: 'Doe' }, { note: 1 }] });
    assert.equal(report.validRecords, 1);
    assert.deepEqual(report.errors, [
      { index: 1, line: 2, code: 'required', path: '/lastName', message: 'lastName: Required' },
    ]);
    const { data } = await bulk.validate({
      resourceType: 'Patient',
      data: patients(10_000, { note: 'x'.repeat(300) }),
    });
    assert.equal(data.validRecords, 10_000);
    const sent = service.api.requests[1];
    assert.equal(sent?.headers['content-type'], 'application/fhir+json');
    assert.equal(sent?.headers['content-encoding'], 'gzip');
    assert.equal(JSON.parse(bodyOf(sent)).resourceType, 'Patient');
    const gzip = new Blob([gzipSync('{}')]);
    await assert.rejects(bulk.validate({ resourceType: 'Patient', data: gzip }), { code: 'INVALID_RECORD' });
  });

  test('resources of FHIR are sent as they are, and an export may be of them', async () => {
    const service = await start();
    const { bulk } = service.client();
    const resource = { resourceType: 'Patient', name: [{ family: 'Doe' }] };
    await bulk.import({ resourceType: 'Patient', data: [resource], format: 'fhir', unmapped: 'drop' });
    await bulk.export({ resourceTypes: ['Patient'], format: 'fhir' });
    const [imported, exported] = service.api.requests.map((request) => JSON.parse(bodyOf(request)));
    assert.deepEqual(imported, {
      resourceType: 'Patient',
      data: JSON.stringify(resource),
      format: 'fhir',
      unmapped: 'drop',
    });
    assert.deepEqual(exported, { resourceTypes: ['Patient'], format: 'fhir' });
  });

  test('an export sends dates in UTC and leaves out what is not given', async () => {
    const service = await start();
    const { bulk } = service.client();
    await bulk.export({ resourceTypes: ['Patient'], since: new Date('2025-01-01T00:00:00+02:00'), files: 'perType' });
    assert.deepEqual(JSON.parse(service.api.requests[0]?.body.toString() ?? ''), {
      resourceTypes: ['Patient'],
      since: '2024-12-31T22:00:00.000Z',
      files: 'perType',
    });
    const invalid = { resourceTypes: ['Patient'], since: new Date('yesterday') } as const;
    await assert.rejects(async () => bulk.export(invalid), TypeError);
  });

  test('a validation error lists its issues', async () => {
    const service = await start();
    const issues = [{ severity: 'error', code: 'invalid', diagnostics: 'data: Required' }];
    const reply = failure(422, 'VALIDATION_ERROR', 'data: Required');
    service.api.next(POST, { ...reply, json: { ...(reply.json as object), issue: issues } });
    await assert.rejects(
      service.client().bulk.import({ resourceType: 'Patient', data: '' }),
      (error: ClinikApiError) =>
        error.name === 'ClinikValidationError' && error.issues?.[0]?.diagnostics === 'data: Required',
    );
  });
});
