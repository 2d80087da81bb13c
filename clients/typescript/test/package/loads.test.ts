import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Consumer, NODES } from './consumer.js';

const PROGRAM = `
const clinik = new Clinik('clk_test_StubKey0123456789', { baseUrl: 'http://127.0.0.1:9' });
const error = new ClinikTimeoutError('JOB_TIMEOUT', 'late');
if (!(error instanceof ClinikApiError) || error.name !== 'ClinikTimeoutError') throw new Error('errors');
console.log(typeof clinik.bulk.importAll);
`;
const TYPED = `
const request: ExportRequest = { resourceTypes: ['Patient'] };
const record: RecordOf<'Patient'> = { id: 'p-1', firstName: 'Jane', lastName: 'Doe', gender: 'female' };
const job: Promise<Job> = clinik.bulk.getJob('job_1', { retries: 0 }).then(({ data }) => data);
job.catch((reason: ClinikApiError) => console.log(reason.code, request.resourceTypes, record.id));
// @ts-expect-error the type has no such name
clinik.bulk.export({ resourceTypes: ['Pateint'] }).catch(() => undefined);
`;
const NAMES = 'Clinik, ClinikApiError, ClinikTimeoutError';
const TYPES = 'type ExportRequest, type Job, type RecordOf';

describe('the packed tarball', () => {
  let consumer: Consumer;
  before(async () => {
    consumer = await Consumer.create();
  });
  after(() => consumer.remove());

  for (const node of NODES) {
    test(`loads as ESM, and as CommonJS, on ${node.replace(/.*\/(\.venv|node_modules)\//, '')}`, async () => {
      await consumer.write('load.mjs', `import { ${NAMES} } from '@clinikapi/sdk';${PROGRAM}`);
      assert.equal(await consumer.run(node, {}, 'load.mjs'), 'function\n');
      await consumer.write('load.cjs', `const { ${NAMES} } = require('@clinikapi/sdk');${PROGRAM}`);
      assert.equal(await consumer.run(node, {}, 'load.cjs'), 'function\n');
    });
  }

  for (const [name, options] of Object.entries({
    'NodeNext with the DOM': { module: 'NodeNext', noEmit: true, lib: ['ES2022', 'DOM', 'DOM.Iterable'] },
    Bundler: { module: 'ESNext', moduleResolution: 'Bundler', noEmit: true },
  })) {
    test(`is typed for ${name}`, async () => {
      await consumer.write('typed.ts', `import { ${NAMES}, ${TYPES} } from '@clinikapi/sdk';${PROGRAM}${TYPED}`);
      await consumer.compile(options, 'typed.ts');
    });
  }

  test('is typed for NodeNext, ESM and CommonJS, and runs as both', async () => {
    const text = `import { ${NAMES}, ${TYPES} } from '@clinikapi/sdk';${PROGRAM}${TYPED}`;
    for (const name of ['typed.mts', 'typed.cts']) await consumer.write(name, text);
    await consumer.compile({ module: 'NodeNext', outDir: 'out' }, 'typed.mts', 'typed.cts');
    for (const node of NODES) {
      for (const name of ['out/typed.mjs', 'out/typed.cjs']) {
        assert.match(await consumer.run(node, {}, name), /^function\nNETWORK_ERROR /);
      }
    }
  });
});
