import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { KEY, Service, success } from '../service.js';
import { Consumer, NODES, source } from './consumer.js';

const EXAMPLES = ['import', 'wait', 'errors', 'export', 'replica', 'million'];
const PROGRAMS = ['test/documented/import.ts', 'test/documented/wait.ts', 'examples/migrate.ts'];

const IN_MEMORY = 'the service in memory';

interface Target {
  readonly url: string;
  readonly key: string;
  readonly stop?: () => Promise<void>;
  /** Makes the next import's job fail. */
  readonly failNext?: () => void;
}

/**
 * What README, the project's README and the API's documentation show, compiled and run as it stands there, with a key and an address in the
 * environment and nothing else: against the service in memory, and against a stack where one is up.
 */
const targets: Record<string, () => Promise<Target>> = {
  [IN_MEMORY]: async () => {
    const service = await Service.start();
    const failNext = () => {
      const errors = [{ code: 'internal_error', message: 'Internal error' }];
      const jobId = service.addJob('import', {}, { status: 'failed', outcome: 'failed', errors });
      service.api.next('POST /v1/bulk/import', success(202, { jobId, status: 'pending', message: 'Job started' }));
    };
    return { url: service.url, key: KEY, stop: () => service.stop(), failNext };
  },
};
const { API_URL, API_KEY, NODE_EXTRA_CA_CERTS } = process.env;
if (API_URL && API_KEY) targets['the stack'] = async () => ({ url: API_URL, key: API_KEY });

for (const [name, open] of Object.entries(targets)) {
  describe(`programs on ${name}`, () => {
    let consumer: Consumer;
    let env: Record<string, string>;
    let stop: Target['stop'];
    let failNext: Target['failNext'];
    before(async () => {
      const { url, key, ...more } = await open();
      ({ stop, failNext } = more);
      env = { CLINIKAPI_SECRET_KEY: key, CLINIKAPI_BASE_URL: url };
      // The stack's own authority; not needed where certificates are public ones.
      if (NODE_EXTRA_CA_CERTS) env.NODE_EXTRA_CA_CERTS = NODE_EXTRA_CA_CERTS;
      consumer = await Consumer.create();
      const examples = [...(await source('README.md')).matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code ?? '');
      assert.equal(examples.length, EXAMPLES.length, 'README has six examples');
      for (const [index, code] of examples.entries()) await consumer.write(`readme-${EXAMPLES[index]}.ts`, code);
      const [front] = [...(await source('../../README.md')).matchAll(/^```ts\n(.*?)^```$/gms)].map(
        ([, code]) => code ?? '',
      );
      await consumer.write('front.ts', front ?? '');
      for (const path of PROGRAMS) await consumer.copy(path);
      const files = [
        ...EXAMPLES.map((example) => `readme-${example}.ts`),
        'front.ts',
        'import.ts',
        'wait.ts',
        'migrate.ts',
      ];
      await consumer.compile({ module: 'NodeNext', outDir: 'out' }, ...files);
    });
    after(async () => {
      await consumer.remove();
      await stop?.();
    });

    for (const node of NODES) {
      const run = (program: string, ...args: string[]) => consumer.run(node, env, `out/${program}.js`, ...args);
      const version = node.replace(/.*\/(\.venv|node_modules)\//, '');

      test(`the documented import, and the documented loop, on ${version}`, async () => {
        const jobId = (await run('import')).trim();
        assert.match(jobId, /^job_\w{26}$/);
        assert.match(await run('wait', jobId), /Job done\. Download: undefined\n$/);
      });

      test(`README's examples on ${version}`, async () => {
        assert.match(await run('readme-import'), /^job_/);
        assert.match(await run('readme-wait'), /completed \d+\/2\ncompleted 2\n$/);
        const errors = await run('readme-errors');
        assert.match(errors, /^line 2: required lastName: Required\n28 characters to fix and import again\n/);
        assert.match(errors, /ClinikNotFoundError 404 NOT_FOUND req_\w+\n$/);
        assert.match(await run('readme-export'), /^\d+ records; since of the next export: /);
        const exported = await readFile(join(consumer.folder, 'patients.ndjson'), 'utf8');
        assert.match(exported, /"mrn-1001"/);
        assert.match(await run('readme-replica'), /^\d+ records\n$/);
        await run('front');
        const unpacked = gunzipSync(await readFile(join(consumer.folder, 'Patient.ndjson.gz'))).toString();
        assert.match(unpacked, /"lastName":"Smith"/);
        const count = exported.split('\n').length - 1;
        assert.match(await run('readme-million'), new RegExp(`completed, 0 rejected, ${count} stored so far\n$`));
      });
    }

    if (name === IN_MEMORY) {
      test('a job that has failed stops the example of a million records, and the migration', async () => {
        for (const program of ['readme-million', 'migrate']) {
          failNext?.();
          const run = consumer.run(NODES[0] ?? '', env, `out/${program}.js`);
          await assert.rejects(run, { code: 1, stderr: /job_\d+ failed: Internal error/ });
        }
      });
    }

    // At the end, since what README exports would grow by it; on a stack once, since it takes a while there.
    for (const node of name === IN_MEMORY ? NODES : NODES.slice(0, 1)) {
      const run = (program: string) => consumer.run(node, env, `out/${program}.js`);
      const version = node.replace(/.*\/(\.venv|node_modules)\//, '');

      test(`the migration of 25,000 records on ${version}`, async () => {
        const output = await run('migrate');
        assert.match(output, /batch 2 \(records 20000 to 24999\): ended\n/);
        assert.match(output, /^24975 stored, 25 rejected \(see rejected\.ndjson\)$/m);
        const rejected = await readFile(join(consumer.folder, 'rejected.ndjson'), 'utf8');
        assert.deepEqual(JSON.parse(rejected.split('\n')[24] ?? ''), { id: 'old-25000', firstName: 'Unknown' });
      });
    }
  });
}
