import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { inspect } from 'node:util';
import { Clinik, ClinikApiError } from '../src/index.js';
import { KEY } from './service.js';
import { services } from './services.js';

const JOB = 'GET /v1/bulk/jobs/job_1';

describe('a network that fails', { concurrency: true }, () => {
  const start = services();

  test('a port that refuses is a network error that names the reason', async () => {
    const service = await start();
    const { host } = new URL(service.url);
    await service.stop();
    await assert.rejects(
      service.client({ retries: 0 }).bulk.getJob('job_1'),
      ({ name, message, cause }: Error & { cause: { code?: string } }) => {
        assert.equal(name, 'ClinikApiError');
        assert.equal(message, `GET /v1/bulk/jobs/{jobId}: the connection to ${host} failed (ECONNREFUSED)`);
        assert.equal(cause.code, 'ECONNREFUSED');
        return true;
      },
    );
  });

  test('a network error holds what Node says of it, names the host, and no id, link or key', async () => {
    const service = await start();
    const { host } = new URL(service.url);
    const id = service.addJob('export', { 'A.ndjson': '{}\n' });
    const { bulk } = service.client({ retries: 0 });
    const told = async (call: () => Promise<unknown>): Promise<Error & { cause: { code?: string } }> => {
      const error = await call().then(
        () => assert.fail('no error'),
        (reason: unknown) => reason,
      );
      assert.ok(error instanceof ClinikApiError);
      assert.equal(error.code, 'NETWORK_ERROR');
      const shown = inspect(error, { depth: 9, showHidden: true });
      assert.doesNotMatch(shown, new RegExp(`${KEY}|secret`));
      assert.doesNotMatch(error.message, new RegExp(id));
      return error as never;
    };
    service.api.next('GET', { refuse: true });
    const refused = await told(() => bulk.getJob(id));
    assert.equal(refused.message, `GET /v1/bulk/jobs/{jobId}: the connection to ${host} failed (UND_ERR_SOCKET)`);
    assert.equal(refused.cause.code, 'UND_ERR_SOCKET');
    service.store.next('GET', { refuse: true });
    const { message } = await told(() => bulk.download(id));
    assert.ok(message.includes(`the connection to ${new URL(service.store.origin).host} failed`), message);
  });

  test('what a fetch of the user’s own says is held, unless it shows the key or a link', async () => {
    const url = 'http://127.0.0.1:1/x?X-Amz-Signature=secret';
    const causes: [error: unknown, isHeld: boolean][] = [
      [Object.assign(new Error('no way to the host'), { code: 'EOWN' }), true],
      ['a text', true],
      [new Error(`with ${KEY}`), false],
      [Object.assign(new Error('x'), { request: { headers: [{ 'x-api-key': KEY }] } }), false],
      [Object.assign(new Error('x'), { link: url }), false],
      [Object.assign(new Error('x'), { link: new URL(url) }), false],
      [{ [inspect.custom]: () => assert.fail('cannot be printed') }, false],
    ];
    for (const [cause, isHeld] of causes) {
      let calls = 0;
      const upload = { uploadId: 'upl_1', uploadUrl: url, expiresAt: '', maxBytes: 1 };
      const fetch = async () => {
        if (calls++ > 0) throw cause;
        return Response.json({ data: upload });
      };
      const { bulk } = new Clinik(KEY, { fetch, retries: 0, baseUrl: 'http://127.0.0.1:1' });
      await assert.rejects(bulk.upload(Buffer.from('{}')), (error: Error) => {
        assert.equal(error.cause, isHeld ? cause : undefined);
        assert.match(
          error.message,
          /^PUT of the upload: the connection to 127\.0\.0\.1:1 failed \((EOWN|Error|unknown)\)$/,
        );
        return true;
      });
    }
  });

  test('a time-out names the host', async () => {
    const service = await start();
    service.api.next(JOB, { hang: true });
    const message = `GET /v1/bulk/jobs/job_1: no answer of ${new URL(service.url).host} within 200 ms`;
    await assert.rejects(service.client({ timeout: 200, retries: 0 }).bulk.getJob('job_1'), { message });
  });
});
