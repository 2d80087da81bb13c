import assert from 'node:assert/strict';
import { openAsBlob } from 'node:fs';
import { test } from 'node:test';
import type * as generated from '../src/generated/openapi.gen.js';
import {
  Clinik,
  type CreatedUpload,
  type ExportRequest,
  type ImportRecords,
  type ImportResources,
  type ImportUpload,
  type Issue,
  type Job,
  type JobError,
  type JobFile,
  type JobSummary,
  type Limits,
  type PaginatedResponse,
  type RateLimit,
  type RecordOf,
  type RecordTypes,
  type ResourceType,
  type ResponseMeta,
  type StartedJob,
  type ValidateRecords,
  type ValidateResources,
  type ValidationReport,
} from '../src/index.js';

/** Compiles only if both are the same type. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
/** Compiles only if the first can be used as the second. */
type Fits<A extends B, B> = A extends B ? true : false;
/** What the service sends (A) can be used as what the client promises (B), and both have the same members. */
type Agree<A extends B, B> = Same<keyof A, keyof B> extends true ? (A extends B ? true : false) : false;

type Checks = [
  Same<ResourceType, generated.ResourceType>,
  Same<keyof RecordTypes, generated.ResourceType>,
  Agree<generated.Job, Job>,
  Agree<generated.ListedJob, JobSummary>,
  Same<keyof generated.JobPage['data'], keyof PaginatedResponse<JobSummary>>,
  Agree<generated.JobError, JobError>,
  Agree<generated.JobFile, JobFile>,
  Agree<generated.StartedJob['data'], StartedJob>,
  Agree<generated.ValidatedBatch['data'], ValidationReport>,
  Agree<generated.LimitsAnswer['data'], Limits>,
  Agree<generated.RateLimit, RateLimit>,
  Agree<generated.CreatedUpload['data'], CreatedUpload>,
  Agree<Omit<generated.Meta, 'warnings'>, Omit<ResponseMeta, 'warnings'>>,
  Fits<generated.Issue, Issue>,
  Same<keyof generated.ImportRequest, keyof ImportRecords | keyof ImportResources | keyof ImportUpload>,
  Same<keyof generated.ExportRequest, keyof ExportRequest>,
  Same<keyof generated.ValidationRequest, keyof ValidateRecords | keyof ValidateResources>,
  Fits<RecordOf<'Patient'>, generated.Patient>,
];

test('generated and hand-written types agree', () => {
  // The compiler has checked it: where they disagree a member of the tuple is false, and takes no true.
  const t = true;
  const checks: Checks = [t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t];
  assert.equal(checks.length, 18);
});

test('records to import are typed by their type', () => {
  const { bulk } = new Clinik('clk_test_StubKey0123456789', {
    fetch: () => Promise.reject(new Error('not to be used')),
  });
  interface Row {
    firstName: string;
    lastName: string;
  }
  // Only compiled: nothing of it is called.
  const compiled = async (rows: Row[], unknown: Record<string, unknown>[], objects: object[], type: ResourceType) => {
    const { signal } = new AbortController();
    await bulk.import(
      { resourceType: 'Patient', data: [{ lastName: 'Doe', gender: 'female', own: { a: 1 } }] },
      { signal },
    );
    await bulk.validate({ resourceType: 'Patient', data: [{ lastName: 'Doe', email: undefined, birthDate: null }] });
    // @ts-expect-error a number is no name
    await bulk.import({ resourceType: 'Patient', data: [{ lastName: 7 }] });
    // @ts-expect-error a code that the type does not have
    await bulk.validate({ resourceType: 'Patient', data: [{ lastName: 'Doe', gender: 'f' }] });
    // @ts-expect-error a Date is no date of the type
    bulk.importAll({ resourceType: 'Patient', records: [{ lastName: 'Doe', birthDate: new Date() }] });
    // @ts-expect-error an item of a list
    bulk.importAll({ resourceType: 'Patient', records: [{ contact: [{ email: 7 }] }] });
    // @ts-expect-error a record of another type
    await bulk.import({ resourceType: 'Patient', data: [{ resourceType: 'Person', lastName: 'Doe' }] });
    const wrong = async function* () {
      yield { lastName: 7 };
    };
    // @ts-expect-error a generator of what is wrong
    bulk.importAll({ resourceType: 'Patient', records: wrong() });
    // @ts-expect-error one record
    await bulk.import({ resourceType: 'Patient', data: { lastName: 'Doe' } });
    // @ts-expect-error a promise
    await bulk.import({ resourceType: 'Patient', data: openAsBlob('patients.ndjson') });

    for (const data of [rows, unknown, objects, new Set(rows), 'text', await openAsBlob('patients.ndjson')]) {
      await bulk.import({ resourceType: 'Patient', data });
      await bulk.validate({ resourceType: 'Patient', data });
      bulk.importAll({ resourceType: 'Patient', records: data });
      await bulk.import({ resourceType: type, data });
      const request: ImportRecords = { resourceType: type, data };
      await bulk.import(request);
    }
    await bulk.import({ resourceType: 'Patient', data: JSON.parse('[]') });
    await bulk.import({ resourceType: 'Patient', uploadId: 'upl_1' });
  };
  assert.equal(typeof compiled, 'function');
});

test('records are typed as the service reads them', () => {
  const patient: RecordOf<'Patient'> = { firstName: 'Jane', lastName: 'Doe', gender: 'female', email: null };
  // @ts-expect-error lastName is required
  const incomplete: RecordOf<'Patient'> = { firstName: 'Jane' };
  // @ts-expect-error a code that the type does not have
  const wrong: RecordOf<'Patient'> = { firstName: 'Jane', lastName: 'Doe', gender: 'f' };
  assert.ok(patient && incomplete && wrong);
});
