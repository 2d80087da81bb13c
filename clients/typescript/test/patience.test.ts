import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Clinik, ClinikApiError } from '../src/index.js';
import { patiently, waitOf } from '../src/retry.js';
import { KEY } from './service.js';

const away = (retryAfter?: number) => new ClinikApiError({ status: 503, code: 'X', message: 'away', retryAfter });

describe('patience', () => {
  /** Runs what always fails, on a clock that goes on by the pauses alone; gives the pauses in seconds. */
  async function pausesOf(error: Error, mock: { method: typeof test.mock.method; timers: typeof test.mock.timers }) {
    const pauses: number[] = [];
    let clock = 0;
    mock.timers.enable({ apis: ['setTimeout'] });
    mock.method(performance, 'now', () => clock);
    const onPause = (milliseconds: number) => {
      pauses.push(milliseconds / 1000);
      clock += milliseconds;
      setImmediate(() => mock.timers.tick(milliseconds));
    };
    try {
      await assert.rejects(
        patiently({ signal: undefined, onPause }, () => Promise.reject(error)),
        error,
      );
    } finally {
      mock.timers.reset();
    }
    return pauses;
  }

  test('an outage is waited out for ten minutes, with pauses that grow', async (context) => {
    const pauses = await pausesOf(away(), context.mock);
    const sum = pauses.reduce((all, each) => all + each, 0);
    assert.ok(sum >= 600 && sum <= 660, `${sum} s`);
    assert.ok(pauses.length < 40, `${pauses.length} pauses`);
    for (const [index, pause] of pauses.entries()) {
      const longest = Math.min(0.5 * 2 ** index, 60);
      assert.ok(pause >= longest / 2 && pause <= longest, `${pause} s`);
    }
  });

  test('a Retry-After is obeyed, for five minutes at most', async (context) => {
    assert.deepEqual(await pausesOf(away(200), context.mock), [200, 200, 200]);
    context.mock.reset();
    assert.deepEqual(await pausesOf(away(2 ** 64 - 1), context.mock), [300, 300]);
    context.mock.reset();
    // None at all would be a storm of calls.
    assert.ok((await pausesOf(away(0), context.mock)).every((pause) => pause > 0));
  });

  test('what is no outage is thrown at once', async (context) => {
    const invalid = new ClinikApiError({ status: 422, code: 'VALIDATION_ERROR', message: 'x' });
    const gone = new ClinikApiError({ status: 404, code: 'NOT_FOUND', message: 'x' });
    for (const error of [invalid, gone, new Error('x')]) {
      assert.deepEqual(await pausesOf(error, context.mock), []);
      context.mock.reset();
    }
  });

  test('no wait is longer than an hour, whatever is asked for', () => {
    assert.deepEqual(
      [0, 5, 3_600, 86_400, 2 ** 64 - 1, Number.POSITIVE_INFINITY, -1].map((each) => waitOf(each)),
      [0, 5_000, 3_600_000, 3_600_000, 3_600_000, 3_600_000, 0],
    );
  });

  test('polls are five minutes apart at most', async (context) => {
    const real = setTimeout;
    const delays: unknown[] = [];
    context.mock.method(globalThis, 'setTimeout', ((run: () => void, delay: number) => {
      delays.push(delay);
      return real(run, delay === 300_000 ? 1 : delay);
    }) as typeof setTimeout);
    const counts = { totalRecords: 1, processedRecords: 1, errors: [] };
    const jobs = ['processing', 'completed'].map((status) => ({ id: 'job_1', type: 'import', status, ...counts }));
    const fetch = async () => Response.json({ data: jobs.shift() }, { headers: { 'retry-after': '86400' } });
    const { bulk } = new Clinik(KEY, { fetch });
    const { data } = await bulk.waitForJob('job_1', { signal: AbortSignal.timeout(10_000) });
    assert.equal(data.status, 'completed');
    assert.ok(delays.includes(300_000));
  });
});
