// A migration: 25,000 patients of an old system, cut into batches, with a report of what was rejected.
//
//   CLINIKAPI_SECRET_KEY=clk_test_… node migrate.js
//
// Patients keep the number of the old system as their id. Run again, it stores nothing twice.
import { createWriteStream } from 'node:fs';
import { Clinik, type RecordOf } from '@clinikapi/sdk';

/** Reads the old system; here it is made up. Every thousandth patient has no last name, and will be rejected. */
async function* oldPatients(): AsyncGenerator<RecordOf<'Patient'> | { id: string; firstName: string }> {
  for (let number = 1; number <= 25_000; number++) {
    const id = `old-${number}`;
    if (number % 1000 === 0) yield { id, firstName: 'Unknown' };
    else yield { id, firstName: 'Jane', lastName: `Doe ${number}`, birthDate: '1990-01-15', gender: 'female' };
  }
}

const clinik = new Clinik(); // with the key in CLINIKAPI_SECRET_KEY
const rejected = createWriteStream('rejected.ndjson');
const totals = { stored: 0, rejected: 0 };

for await (const job of clinik.bulk.importAll({
  resourceType: 'Patient',
  records: oldPatients(),
  label: 'migration',
  onBatch: ({ index, status, firstRecord, records, waitSeconds }) => {
    const wait = waitSeconds === undefined ? '' : ` for ${waitSeconds} s`;
    console.log(`batch ${index} (records ${firstRecord} to ${firstRecord + records - 1}): ${status}${wait}`);
  },
})) {
  if (job.status === 'failed') throw new Error(`${job.id} failed: ${job.errors[0]?.message}`);
  totals.stored += job.succeededRecords ?? 0;
  totals.rejected += job.failedRecords ?? 0;
  for await (const line of clinik.bulk.rejected(job.id)) rejected.write(`${line}\n`);
}

rejected.end();
console.log(`${totals.stored} stored, ${totals.rejected} rejected (see rejected.ndjson)`);
