import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Clinik, RequestOptions } from '../src/index.js';
import type { Recorded, Reply } from './http.js';
import { failure, invalid, Service } from './service.js';

type Intercept = (request: Recorded, act: () => Reply) => Reply;

/** A way through the API. It fails, or has done what it says. */
interface Flow {
  readonly run: (clinik: Clinik, records: object[], options: RequestOptions) => Promise<void>;
  /** Bytes of each record: enough of them go by upload. */
  readonly bytes: number;
}

const importAll: Flow['run'] = async ({ bulk }, records, options) => {
  for await (const job of bulk.importAll({ resourceType: 'Patient', records }, options)) {
    assert.deepEqual([job.status, job.succeededRecords], ['completed', records.length]);
  }
};
const importAndWait: Flow['run'] = async ({ bulk }, data, options) => {
  const { data: started } = await bulk.import({ resourceType: 'Patient', data }, options);
  const { data: job } = await bulk.waitForJob(started.jobId);
  assert.deepEqual([job.status, job.succeededRecords], ['completed', data.length]);
};
const exportAnd =
  (read: 'records' | 'lines', compression: 'none' | 'gzip'): Flow['run'] =>
  async ({ bulk }, records, options) => {
    const { data: started } = await bulk.export({ resourceTypes: ['Patient'], compression }, options);
    await bulk.waitForJob(started.jobId);
    const found: unknown[] = [];
    for await (const each of bulk[read](started.jobId)) found.push(typeof each === 'string' ? JSON.parse(each) : each);
    assert.equal(found.length, records.length);
    assert.deepEqual(found, records);
  };

const IMPORTS: Record<string, Flow> = {
  'importAll in the call': { run: importAll, bytes: 10 },
  'importAll by upload': { run: importAll, bytes: 1_600_000 },
  'import in the call, and waitForJob': { run: importAndWait, bytes: 10 },
  'import by upload, and waitForJob': { run: importAndWait, bytes: 1_600_000 },
};
const EXPORTS: Record<string, Flow> = {
  'export and records': { run: exportAnd('records', 'none'), bytes: 10 },
  'export and lines, gzipped': { run: exportAnd('lines', 'gzip'), bytes: 10 },
};

const TROUBLES: Record<string, Reply> = {
  'a broken connection': { refuse: true },
  'an empty success': { status: 204 },
  'HTML with 404': { status: 404, body: '<html>Not found</html>' },
  'a 422': invalid('uploadId: Unknown upload'),
  'a 429': failure(429, 'RATE_LIMITED', 'Too many requests', 1),
  'a 503': failure(503, 'UNAVAILABLE', 'Unavailable'),
};

function records({ bytes }: Flow, hasIds: boolean): object[] {
  const note = 'x'.repeat(bytes);
  return [1, 2].map((n) => ({ ...(hasIds && { id: `p-${n}` }), lastName: `Doe ${n}`, note }));
}

async function serve(intercept: Intercept, use: (service: Service) => Promise<void>): Promise<void> {
  const service = await Service.start();
  service.api.intercept = intercept;
  service.store.intercept = intercept;
  try {
    await use(service);
  } finally {
    await service.stop();
  }
}

/** How many requests a run makes that meets no trouble. */
async function countRequests(flow: Flow): Promise<number> {
  let count = 0;
  const intercept: Intercept = (_, act) => {
    count++;
    return act();
  };
  await serve(intercept, (service) => flow.run(prepared(service, flow), records(flow, true), {}));
  return count;
}

/** A client of a service that has the records of an export already. */
function prepared(service: Service, flow: Flow): Clinik {
  if (Object.values(EXPORTS).includes(flow)) {
    for (const record of records(flow, true)) service.records.set(JSON.stringify(record), record);
  }
  return service.client();
}

async function failureOf(running: Promise<void>): Promise<Error | undefined> {
  try {
    await running;
    return undefined;
  } catch (error) {
    // A wrong result is no answer to an outage.
    if (error instanceof assert.AssertionError) throw error;
    return error as Error;
  }
}

interface Case {
  readonly name: string;
  readonly intercept: () => Intercept;
  readonly hasIds: boolean;
  readonly key?: string;
  readonly mustSucceed?: boolean;
}

/** Runs a flow, and where it fails and has a key once more, without trouble; then looks at what is stored. */
async function check(flow: Flow, { name, intercept, hasIds, key, mustSucceed }: Case): Promise<void> {
  await serve(intercept(), async (service) => {
    const clinik = prepared(service, flow);
    const all = records(flow, hasIds);
    const options = key === undefined ? {} : { idempotencyKey: key };
    const stored = () => all.map((record) => service.writes.get(JSON.stringify(record)) ?? 0);
    const once = all.map(() => 1);
    const isImport = Object.values(IMPORTS).includes(flow);

    const failed = await failureOf(flow.run(clinik, all, options));
    if (mustSucceed) assert.equal(failed, undefined, `${name}: ${failed}`);
    if (failed === undefined && isImport) assert.deepEqual(stored(), once, name);
    assert.ok(Math.max(...stored()) <= 1, `${name}: stored ${stored()} after ${failed}`);
    if (failed === undefined || key === undefined) return;

    await assert.doesNotReject(flow.run(clinik, all, options), `${name}, repeated`);
    if (isImport) assert.deepEqual(stored(), once, `${name}, repeated`);
  });
}

/** One request, the one with this number, meets the trouble, and has been acted upon or not. */
function once(at: number, reply: Reply, acts: boolean): Intercept {
  let count = 0;
  return (_, act) => {
    if (count++ !== at) return act();
    if (acts) act();
    return reply;
  };
}

/** All requests from the one with this number on meet the trouble for a time. */
function lasting(at: number, reply: Reply, milliseconds: number): Intercept {
  let count = 0;
  let until = Number.NEGATIVE_INFINITY;
  return (_, act) => {
    if (count++ === at) until = performance.now() + milliseconds;
    return performance.now() < until ? reply : act();
  };
}

const WAYS = [{ hasIds: false, key: 'night' }, { hasIds: true, key: 'night' }, { hasIds: false }] as const;
const EXPORT_WAYS = [{ hasIds: true, key: 'night' }] as const;

describe('whatever happens to a request', () => {
  for (const [flowName, flow] of Object.entries({ ...IMPORTS, ...EXPORTS })) {
    test(`${flowName}: it is an error, or everything is there once`, async () => {
      const count = await countRequests(flow);
      assert.ok(count >= 2);
      const cases: Case[] = [];
      for (let at = 0; at < count; at++) {
        for (const [trouble, reply] of Object.entries(TROUBLES)) {
          for (const acts of [false, true]) {
            for (const way of Object.values(IMPORTS).includes(flow) ? WAYS : EXPORT_WAYS) {
              const name = `${trouble} ${acts ? 'after' : 'before'} request ${at}, ${JSON.stringify(way)}`;
              cases.push({ name, intercept: () => once(at, reply, acts), ...way });
            }
          }
        }
      }
      // Side by side, for most of the time is waiting; but not so many that they fill the memory.
      const queue = cases.values();
      const worker = async () => {
        for (const each of queue) await check(flow, each);
      };
      await Promise.all(Array.from({ length: 24 }, worker));
    });
  }

  test('nine seconds without a service end no import, no wait and no download', async () => {
    const away: Reply[] = [{ refuse: true }, failure(503, 'UNAVAILABLE', 'Unavailable')];
    const samples: [flow: Flow | undefined, requests: number[]][] = [
      [IMPORTS['importAll in the call'], [0, 1]],
      [IMPORTS['importAll by upload'], [0, 1, 2, 3]],
      [IMPORTS['import in the call, and waitForJob'], [1]],
      // The link to the file, and the file.
      [EXPORTS['export and records'], [1, 3, 4]],
      [EXPORTS['export and lines, gzipped'], [4]],
    ];
    const running = samples.flatMap(([flow, requests]) =>
      requests.flatMap((at) =>
        away.map((reply) => {
          assert.ok(flow);
          const name = `${JSON.stringify(reply)} for 9 s from request ${at}`;
          const intercept = () => lasting(at, reply, 9_000);
          const hasIds = Object.values(EXPORTS).includes(flow);
          return check(flow, { name, intercept, hasIds, mustSucceed: true });
        }),
      ),
    );
    await Promise.all(running);
  });
});
