import type { JobType } from './types.js';

/** An object of an answer, of which nothing is known yet. */
type Members = Readonly<Record<string, unknown>>;

/** Whether an answer's `data` has the members that the client and its users go on with. */
export type Check = (data: Members) => boolean;

const STATUSES: ReadonlySet<unknown> = new Set(['pending', 'processing', 'completed', 'failed']);
const TYPES: ReadonlySet<unknown> = new Set(['import', 'export']);

/** Whether a text may stand in a path, as ids and names of files do. */
export function isName(value: unknown): value is string {
  return typeof value === 'string' && /^(?!\.+$)[A-Za-z0-9._-]{1,128}$/.test(value);
}

export function isObject(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function areObjects(value: unknown): value is Members[] {
  return Array.isArray(value) && value.every(isObject);
}

export const isStartedJob: Check = ({ jobId, status }) => isName(jobId) && STATUSES.has(status);

/** The job that was asked for, and no other one that somebody on the way remembers. */
export function isJob(id: string, type?: JobType): Check {
  return (data) =>
    isJobSummary(data) &&
    data.id === id &&
    (type === undefined || data.type === type) &&
    areObjects(data.errors) &&
    !isExportWithoutFiles(data);
}

/** A completed export has files, be it none of them or an empty one: without the member nobody knows what it holds. */
function isExportWithoutFiles({ type, status, files, downloadUrl }: Members): boolean {
  return type === 'export' && status === 'completed' && files === undefined && downloadUrl === undefined;
}

const isJobSummary: Check = ({ id, type, status, totalRecords, processedRecords, files }) =>
  isName(id) &&
  TYPES.has(type) &&
  STATUSES.has(status) &&
  isCount(totalRecords) &&
  isCount(processedRecords) &&
  (files === undefined || (areObjects(files) && files.every(isFile)));

const isFile: Check = ({ name, records, bytes, sha256 }) =>
  isName(name) && isCount(records) && isCount(bytes) && typeof sha256 === 'string';

export const isJobPage: Check = ({ data, hasMore }) =>
  areObjects(data) && data.every(isJobSummary) && typeof hasMore === 'boolean';

export const isReport: Check = ({ totalRecords, validRecords, invalidRecords, errors }) =>
  [totalRecords, validRecords, invalidRecords].every(isCount) && areObjects(errors);

export const isUpload: Check = ({ uploadId, uploadUrl }) =>
  typeof uploadId === 'string' && uploadId !== '' && typeof uploadUrl === 'string';

export const isLimits: Check = ({ bulkOperations, requestsPerMinute, requestsPerMonth, batch }) =>
  areObjects([bulkOperations, requestsPerMinute, requestsPerMonth, batch]);
