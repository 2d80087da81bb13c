import assert from 'node:assert/strict';
import { test } from 'node:test';
import type * as generated from '../src/generated/openapi.gen.js';
import type {
  CreatedUpload,
  ImportRecords,
  ImportUpload,
  Issue,
  Job,
  JobError,
  RecordOf,
  RecordTypes,
  ResourceType,
  ResponseMeta,
  StartedJob,
} from '../src/index.js';

/** Compiles only if both are the same type. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
/** Compiles only if the first can be used as the second. */
type Fits<A extends B, B> = A extends B ? true : never;
/** The members that both have, each with its own optionality. */
type Common<A, B> = Pick<A, Extract<keyof A, keyof B>>;

/** What the service sends fits what the client promises, and the client knows every member of it. */
type Checks = [
  Same<keyof RecordTypes, generated.ResourceType>,
  Same<ResourceType, generated.ResourceType>,
  Fits<generated.Job, Common<Job, generated.Job>>,
  Fits<Common<Job, generated.Job>, generated.Job>,
  Same<Exclude<keyof generated.Job, keyof Job>, never>,
  Same<keyof generated.JobError, keyof JobError>,
  Fits<generated.JobError, JobError>,
  Fits<JobError, generated.JobError>,
  Fits<generated.StartedJob['data'], StartedJob>,
  Fits<StartedJob, generated.StartedJob['data']>,
  Fits<Omit<generated.CreatedUpload['data'], 'maxBytes'>, Omit<CreatedUpload, 'maxBytes'>>,
  Same<keyof generated.CreatedUpload['data'], keyof CreatedUpload>,
  Fits<generated.Meta, ResponseMeta>,
  Same<keyof generated.Meta, keyof ResponseMeta>,
  Fits<generated.Issue, Issue>,
  Same<Exclude<keyof generated.ImportRequest, keyof ImportRecords | keyof ImportUpload>, never>,
  Fits<RecordOf<'Patient'>, generated.Patient>,
];

test('generated and hand-written types agree', () => {
  // The compiler has checked it: with a disagreement there is no such file to run.
  const checks: Checks = [
    ...([true, true, true, true, true, true, true, true, true] as const),
    ...([true, true, true, true, true, true, true, true] as const),
  ];
  assert.equal(checks.length, 17);
});

test('records are typed as the service reads them', () => {
  const patient: RecordOf<'Patient'> = { firstName: 'Jane', lastName: 'Doe', gender: 'female', email: null };
  // @ts-expect-error lastName is required
  const incomplete: RecordOf<'Patient'> = { firstName: 'Jane' };
  // @ts-expect-error a code that the type does not have
  const wrong: RecordOf<'Patient'> = { firstName: 'Jane', lastName: 'Doe', gender: 'f' };
  assert.ok(patient && incomplete && wrong);
});
