import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { afterEach, describe, test } from 'node:test';
import { inspect } from 'node:util';
import { Clinik, type ClinikOptions } from '../src/index.js';
import { VERSION } from '../src/version.js';
import { bodyOf, LIMITS } from './replies.js';
import { KEY, Service } from './service.js';

describe('the client', () => {
  const before = { ...process.env };
  afterEach(() => {
    for (const name of ['CLINIKAPI_BASE_URL', 'CLINIKAPI_SECRET_KEY']) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
  });

  test('an empty key is refused', () => {
    assert.throws(() => new Clinik(''), { name: 'TypeError', message: /^apiKey: .*CLINIKAPI_SECRET_KEY.* empty$/ });
    assert.throws(() => new Clinik(null as unknown as string), { name: 'TypeError' });
  });

  test('a key that is not given is that of the environment, and its address too', async () => {
    const seen: unknown[] = [];
    const fetch: ClinikOptions['fetch'] = async (input, init) => {
      seen.push([String(input), new Headers(init?.headers).get('x-api-key')]);
      return Response.json({ data: LIMITS });
    };
    process.env.CLINIKAPI_SECRET_KEY = KEY;
    process.env.CLINIKAPI_BASE_URL = 'https://example.com';
    const real = globalThis.fetch;
    globalThis.fetch = fetch;
    try {
      await new Clinik().bulk.getLimits();
    } finally {
      globalThis.fetch = real;
    }
    await new Clinik(undefined, { fetch }).bulk.getLimits();
    await new Clinik(`${KEY}2`, { fetch }).bulk.getLimits();
    const url = 'https://example.com/v1/bulk/limits';
    assert.deepEqual(seen, [
      [url, KEY],
      [url, KEY],
      [url, `${KEY}2`],
    ]);
  });

  test('a key that is neither given nor in the environment is an error that names the variable', () => {
    for (const [value, message] of [
      [undefined, /^CLINIKAPI_SECRET_KEY: .* it is not set/],
      ['', /^CLINIKAPI_SECRET_KEY: .* it is empty$/],
      [`${KEY}\n`, /^CLINIKAPI_SECRET_KEY: .* line ends$/],
    ] as const) {
      if (value === undefined) delete process.env.CLINIKAPI_SECRET_KEY;
      else process.env.CLINIKAPI_SECRET_KEY = value;
      for (const make of [() => new Clinik(), () => new Clinik(undefined, {})]) {
        assert.throws(make, (error: Error) => {
          assert.equal(error.name, 'TypeError');
          assert.match(error.message, message);
          assert.ok(!inspect(error).includes(KEY));
          return true;
        });
      }
    }
  });

  test('a key that no header can carry is refused and not shown', () => {
    for (const key of [`${KEY}\n`, ` ${KEY}`, `${KEY}é`]) {
      assert.throws(
        () => new Clinik(key),
        (error: Error) => error.name === 'TypeError' && !inspect(error).includes(KEY),
      );
    }
  });

  test('a base URL that is none is refused and not shown', () => {
    const wrong = ['', 'api.clinikapi.com', 'ftp://api.clinikapi.com', '/v1', 'https://', KEY, 'https://a:b@host'];
    for (const baseUrl of [...wrong, 'https://host/?a=b', 'https://host/#a']) {
      assert.throws(
        () => new Clinik(KEY, { baseUrl }),
        (error: Error) =>
          error.name === 'TypeError' && /^baseUrl: /.test(error.message) && !inspect(error).includes(KEY),
        baseUrl,
      );
    }
    process.env.CLINIKAPI_BASE_URL = 'nonsense';
    assert.throws(() => new Clinik(KEY), { message: /^CLINIKAPI_BASE_URL: / });
  });

  test('the base URL is the option, then the environment, then the public one', async () => {
    const seen: string[] = [];
    const fetch: ClinikOptions['fetch'] = async (input) => {
      seen.push(String(input));
      return Response.json({ data: LIMITS });
    };
    delete process.env.CLINIKAPI_BASE_URL;
    await new Clinik(KEY, { fetch }).bulk.getLimits();
    process.env.CLINIKAPI_BASE_URL = 'http://127.0.0.1:4566/_aws/execute-api/abc/$default/';
    await new Clinik(KEY, { fetch }).bulk.getLimits();
    await new Clinik(KEY, { fetch, baseUrl: 'https://example.com//' }).bulk.getLimits();
    assert.deepEqual(seen, [
      'https://api.clinikapi.com/v1/bulk/limits',
      'http://127.0.0.1:4566/_aws/execute-api/abc/$default/v1/bulk/limits',
      'https://example.com/v1/bulk/limits',
    ]);
  });

  test('http to another machine is warned of', async () => {
    const warnings: string[] = [];
    const listen = (warning: Error) => warnings.push(`${warning.name}: ${warning.message}`);
    process.on('warning', listen);
    for (const host of ['localhost', '127.0.0.1:4566', '[::1]', 'clinik.internal']) {
      new Clinik(KEY, { baseUrl: `http://${host}` });
    }
    // A warning is emitted on the next tick.
    await new Promise((resolve) => setImmediate(resolve));
    process.off('warning', listen);
    assert.deepEqual(warnings, ['ClinikWarning: baseUrl is not https: the key and the records can be read on the way']);
  });

  test('options out of range are refused', () => {
    for (const options of [
      { timeout: 0 },
      { timeout: Number.NaN },
      { timeout: 1e12 },
      { retries: -1 },
      { retries: 1.5 },
    ]) {
      assert.throws(() => new Clinik(KEY, options), RangeError);
    }
  });

  test('the key is nowhere to be seen when a client is printed or serialized', () => {
    const clinik = new Clinik(KEY);
    const shown = inspect(clinik, { showHidden: true, depth: Number.POSITIVE_INFINITY, getters: true });
    assert.ok(!shown.includes(KEY));
    assert.ok(!JSON.stringify(clinik).includes(KEY));
  });

  test('the functions of the namespace need no this', async () => {
    const service = await Service.start();
    try {
      const { getLimits } = service.client().bulk;
      const { data, meta } = await getLimits();
      assert.equal(data.bulkOperations.limit, 5);
      assert.equal(data.requestsPerMonth.limit, null);
      assert.deepEqual(meta, {
        requestId: 'req_body',
        timestamp: '2026-01-15T09:15:00.000Z',
        status: 200,
        rateLimitTotal: 1000,
        rateLimitRemaining: 999,
        rateLimitReset: 60,
      });
      assert.equal(service.api.requests[0]?.headers['user-agent'], `clinikapi-sdk-js/${VERSION}`);
    } finally {
      await service.stop();
    }
  });

  test('meta comes from the headers where the body has none', async () => {
    const headers = {
      'x-request-id': 'req_header',
      'x-timestamp': '2026-01-15T09:15:00.000Z',
      'x-ratelimit-limit': '1000',
      'x-ratelimit-remaining': '998',
      'x-ratelimit-reset': '59',
    };
    const fetch = async () => Response.json({ data: LIMITS }, { headers });
    const { meta } = await new Clinik(KEY, { fetch }).bulk.getLimits();
    assert.deepEqual(meta, {
      requestId: 'req_header',
      timestamp: '2026-01-15T09:15:00.000Z',
      status: 200,
      rateLimitTotal: 1000,
      rateLimitRemaining: 998,
      rateLimitReset: 59,
    });
  });

  test('what the service warns of is handed through', async () => {
    const meta = { requestId: 'req_1', timestamp: '2026-01-15T09:15:00.000Z', status: 200 };
    const warned = async (warnings: unknown) => {
      const fetch = async () => Response.json({ data: LIMITS, meta: { ...meta, warnings } });
      return (await new Clinik(KEY, { fetch }).bulk.getLimits()).meta;
    };
    const warnings = ['colour: Unknown member, ignored'];
    assert.deepEqual(await warned(warnings), { ...meta, warnings });
    // Anything else is not the service's.
    for (const wrong of ['colour', [7], {}, null]) assert.deepEqual(await warned(wrong), meta);
  });

  test('a member of a request that is not known here is for the service to judge', async () => {
    const service = await Service.start();
    try {
      const { bulk } = service.client();
      const data = '{"lastName":"Doe"}';
      const more = { sinse: '2026-01-15', colour: 'blue' };
      const { data: upload } = await bulk.upload(Buffer.from(data));
      await bulk.import({ resourceType: 'Patient', data, ...more });
      await bulk.import({ resourceType: 'Patient', uploadId: upload.uploadId, ...more });
      await bulk.validate({ resourceType: 'Patient', data, ...more });
      await bulk.export({ resourceTypes: ['Patient'], ...more });
      for await (const _ of bulk.importAll({ resourceType: 'Patient', records: data, ...more }));
      const sent = service.api.requests.filter(({ method }) => method === 'POST').slice(1);
      assert.equal(sent.length, 5);
      for (const request of sent) {
        const { sinse, colour, ...known } = JSON.parse(bodyOf(request));
        assert.deepEqual({ sinse, colour }, more);
        for (const name of Object.keys(known)) {
          assert.ok(['resourceType', 'resourceTypes', 'data', 'uploadId'].includes(name), name);
        }
      }
    } finally {
      await service.stop();
    }
  });

  test('an answer that repeats the key, and a fetch whose error holds it, do not show it', async () => {
    const body = { message: `bad key ${KEY}`, code: 'X', issues: [{ diagnostics: KEY }] };
    const echo = async () => Response.json(body, { status: 400 });
    const leak = async () => {
      throw Object.assign(new Error(`request with ${KEY} failed`), { config: { headers: { 'x-api-key': KEY } } });
    };
    for (const fetch of [echo, leak]) {
      await assert.rejects(
        new Clinik(KEY, { fetch, retries: 0 }).bulk.getLimits(),
        (error: Error) => !inspect(error, { depth: 9, showHidden: true }).includes(KEY),
      );
    }
  });

  test('a redirect of the API is not followed, so that the key stays here', async () => {
    const service = await Service.start();
    const other = await Service.start();
    try {
      service.api.next('GET /v1/bulk/limits', { status: 307, headers: { location: `${other.url}/v1/bulk/limits` } });
      await assert.rejects(service.client().bulk.getLimits(), { status: 307, message: /redirect/ });
      assert.equal(other.api.requests.length, 0);
    } finally {
      await Promise.all([service.stop(), other.stop()]);
    }
  });

  test('the version is that of the package', () => {
    const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
    assert.equal(JSON.parse(text).version, VERSION);
  });
});
