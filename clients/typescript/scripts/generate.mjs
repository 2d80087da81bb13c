// Generates src/generated/openapi.gen.ts, the types of records and answers, from openapi.yaml.
//
//   node scripts/generate.mjs           write the file
//   node scripts/generate.mjs --check   exit with 1 if the file is not what openapi.yaml gives
//
// Needs Node 22, as the generator does; the package itself does not.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createClient } from '@hey-api/openapi-ts';
import { bundle, createConfig } from '@redocly/openapi-core';
import { describeRecords } from './describe.mjs';

const openapi = fileURLToPath(new URL('../../../openapi.yaml', import.meta.url));
const target = fileURLToPath(new URL('../src/generated/openapi.gen.ts', import.meta.url));

async function generate() {
  const folder = await mkdtemp(join(tmpdir(), 'clinikapi-types-'));
  try {
    // One document first: references into other files would give every type twice.
    const { bundle: document } = await bundle({ ref: openapi, config: await createConfig({}) });
    describeRecords(document.parsed);
    const input = join(folder, 'openapi.json');
    await writeFile(input, JSON.stringify(document.parsed));
    await createClient({
      input,
      output: { path: join(folder, 'types'), clean: true },
      plugins: ['@hey-api/typescript'],
      logs: { level: 'error' },
    });
    return await readFile(join(folder, 'types', 'types.gen.ts'), 'utf8');
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const generated = await generate();
if (!process.argv.includes('--check')) {
  await writeFile(target, generated);
} else if (generated !== (await readFile(target, 'utf8'))) {
  console.error(`${target} is out of date with openapi.yaml; run: npm run generate`);
  process.exitCode = 1;
}
