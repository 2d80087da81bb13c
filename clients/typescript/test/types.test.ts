import assert from 'node:assert/strict';
import { test } from 'node:test';
import type * as generated from '../src/generated/openapi.gen.js';
import type {
  CreatedUpload,
  ExportRequest,
  ImportRecords,
  ImportUpload,
  Issue,
  Job,
  JobError,
  JobFile,
  JobSummary,
  Limits,
  PaginatedResponse,
  RateLimit,
  RecordOf,
  RecordTypes,
  ResourceType,
  ResponseMeta,
  StartedJob,
  ValidateRequest,
  ValidationReport,
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
  Agree<generated.Meta, ResponseMeta>,
  Fits<generated.Issue, Issue>,
  Same<keyof generated.ImportRequest, keyof ImportRecords | keyof ImportUpload>,
  Same<keyof generated.ExportRequest, keyof ExportRequest>,
  Same<keyof generated.ValidationRequest, keyof ValidateRequest>,
  Fits<RecordOf<'Patient'>, generated.Patient>,
];

test('generated and hand-written types agree', () => {
  // The compiler has checked it: where they disagree a member of the tuple is false, and takes no true.
  const t = true;
  const checks: Checks = [t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t];
  assert.equal(checks.length, 18);
});

test('records are typed as the service reads them', () => {
  const patient: RecordOf<'Patient'> = { firstName: 'Jane', lastName: 'Doe', gender: 'female', email: null };
  // @ts-expect-error lastName is required
  const incomplete: RecordOf<'Patient'> = { firstName: 'Jane' };
  // @ts-expect-error a code that the type does not have
  const wrong: RecordOf<'Patient'> = { firstName: 'Jane', lastName: 'Doe', gender: 'f' };
  assert.ok(patient && incomplete && wrong);
});
