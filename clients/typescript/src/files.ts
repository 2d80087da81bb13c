import { download, downloadChunks } from './download.js';
import { clientError, refusal } from './errors.js';
import { gunzip } from './gunzip.js';
import { checkName, getJob } from './jobs.js';
import { splitLines } from './ndjson.js';
import type { RequestOptions } from './options.js';
import type { Transport } from './transport.js';
import type { DeletedRecord, ImportResult, Job, JobError, JobFile } from './types.js';

/** Options of reading the records of an export. */
export interface RecordsOptions extends RequestOptions {
  /** Only those of this file. Default: all files of the export. */
  name?: string;
}

/** The bytes of one file; without a name, of the only file with records that the export has. */
export async function downloadFile(
  transport: Transport,
  id: string,
  name: string | undefined,
  options: RequestOptions | undefined,
): Promise<ReadableStream<Uint8Array>> {
  const job = await finishedJob(transport, id, options);
  if (name === HASHES) return hashesOf(job.files ?? []);
  if (name !== undefined) return download(transport, id, fileOf(job, name), options);
  const [file, ...others] = job.type === 'export' ? filesOfRecords(job) : [];
  if (file !== undefined && others.length === 0) return download(transport, id, file, options);
  throw refusal('FILE_NAME_REQUIRED', `name: say which file of the job to download; its files: ${namesOf(job)}`);
}

/** The list of hashes. The service would answer with the same, which is in the job already. */
const HASHES = 'SHA256SUMS';

function hashesOf(files: readonly JobFile[]): ReadableStream<Uint8Array> {
  const lines = files.map(({ name, sha256 }) => `${sha256}  ${name}\n`);
  return new Blob(lines).stream() as ReadableStream<Uint8Array>;
}

/** The records of an export, one file after the other. */
export async function* readRecords<T>(
  transport: Transport,
  id: string,
  options: RecordsOptions | undefined,
): AsyncGenerator<T, void, undefined> {
  if (options?.name === DELETED) {
    throw refusal('FILE_NAME_UNKNOWN', `name: ${DELETED} holds no records; read what was deleted with bulk.deleted`);
  }
  for await (const [name, job, rest] of exportFiles(transport, id, options)) {
    yield* readObjects<T>(transport, job, name, rest);
  }
}

/** The lines of an export as they are, one file after the other. */
export async function* readExportLines(
  transport: Transport,
  id: string,
  options: RecordsOptions | undefined,
): AsyncGenerator<string, void, undefined> {
  for await (const [name, job, rest] of exportFiles(transport, id, options)) {
    yield* readTexts(transport, job, name, rest);
  }
}

async function* exportFiles(
  transport: Transport,
  id: string,
  options: RecordsOptions | undefined,
): AsyncGenerator<[name: string, job: Job, options: RequestOptions], void, undefined> {
  const { name, ...rest } = options ?? {};
  const job = await finishedExport(transport, id, rest);
  if (name !== undefined) {
    yield [name, job, rest];
    return;
  }
  const files = filesOfRecords(job);
  const held = files.reduce((sum, file) => sum + file.records, 0);
  if (held !== job.totalRecords) {
    throw clientError('COUNT_MISMATCH', `${id}: it tells of ${job.totalRecords} records, and its files of ${held}`);
  }
  for (const file of files) yield [file.name, job, rest];
}

/** The file of an export that names deleted records, and holds none. */
const DELETED = 'deleted.ndjson';

function filesOfRecords(job: Job): JobFile[] {
  return job.files?.filter((file) => file.name !== DELETED) ?? [];
}

/** What was deleted since the `since` of an export: nothing before all is compared, since something will be deleted by it. */
export async function* readDeleted(
  transport: Transport,
  id: string,
  options: RequestOptions | undefined,
): AsyncGenerator<DeletedRecord, void, undefined> {
  const job = await finishedExport(transport, id, options);
  if (!hasFile(job, DELETED)) return;
  const found: DeletedRecord[] = [];
  for await (const deleted of readObjects<DeletedRecord>(transport, job, DELETED, options)) {
    const { resourceType, id: deletedId } = Object(deleted) as Partial<DeletedRecord>;
    if (![resourceType, deletedId].every((each) => typeof each === 'string' && each !== '')) {
      throw clientError('INVALID_RECORD', `${DELETED}: line ${found.length + 1} names no deleted record`);
    }
    found.push(deleted);
  }
  yield* found;
}

/** All violations of an import; of a job that failed the reason. */
export async function* readErrors(
  transport: Transport,
  id: string,
  options: RequestOptions | undefined,
): AsyncGenerator<JobError, void, undefined> {
  const job = await endedJob(transport, id, options);
  if (!hasFile(job, 'errors.ndjson')) yield* job.errors;
  else yield* readObjects<JobError>(transport, job, 'errors.ndjson', options);
}

/** What became of each line of an import. */
export async function* readResults(
  transport: Transport,
  id: string,
  options: RequestOptions | undefined,
): AsyncGenerator<ImportResult, void, undefined> {
  const job = await finishedJob(transport, id, options);
  yield* readObjects<ImportResult>(transport, job, 'results.ndjson', options);
}

/** The rejected lines of an import. */
export async function* readRejected(
  transport: Transport,
  id: string,
  options: RequestOptions | undefined,
): AsyncGenerator<string, void, undefined> {
  const job = await finishedJob(transport, id, options);
  if (!hasFile(job, 'rejected.ndjson')) return;
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  for await (const line of readFileLines(transport, job, 'rejected.ndjson', options)) yield decoder.decode(line);
}

async function* readObjects<T>(
  transport: Transport,
  job: Job,
  name: string,
  options: RequestOptions | undefined,
): AsyncGenerator<T, void, undefined> {
  let number = 0;
  for await (const line of readTexts(transport, job, name, options)) yield parseLine<T>(name, ++number, line);
}

function parseLine<T>(name: string, number: number, line: string): T {
  try {
    return JSON.parse(line) as T;
  } catch {
    // The engine's own message shows a part of the line.
    throw clientError('INVALID_RECORD', `${name}: line ${number} is not JSON`);
  }
}

/** Lines of a file that the service has written in UTF-8: anything else is an error, not another character. */
async function* readTexts(
  transport: Transport,
  job: Job,
  name: string,
  options: RequestOptions | undefined,
): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let number = 0;
  for await (const line of readFileLines(transport, job, name, options)) {
    number++;
    let text: string;
    try {
      text = decoder.decode(line);
    } catch {
      throw clientError('INVALID_RECORD', `${name}: line ${number} is not UTF-8`);
    }
    yield text;
  }
}

/** The lines of a file. At its end they have to be as many as the job tells of. */
async function* readFileLines(
  transport: Transport,
  job: Job,
  name: string,
  options: RequestOptions | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  const file = fileOf(job, name);
  const chunks = downloadChunks(transport, job.id, file, options);
  let count = 0;
  for await (const line of splitLines(name.endsWith('.gz') ? gunzip(name, chunks) : chunks)) {
    count++;
    yield line;
  }
  if (count === file.records) return;
  throw clientError('COUNT_MISMATCH', `${name}: it has ${count} lines, and the job tells of ${file.records}`);
}

function hasFile(job: Job, name: string): boolean {
  return job.files?.some((file) => file.name === name) ?? false;
}

/** What the job says of a file: what it does not name cannot be verified, and is not asked for. */
function fileOf(job: Job, name: string): JobFile {
  checkName('file name', name);
  const file = job.files?.find((each) => each.name === name);
  if (file !== undefined) return file;
  throw refusal('FILE_NAME_UNKNOWN', `name: the job has no such file; its files: ${namesOf(job)}`);
}

function namesOf(job: Job): string {
  return job.files?.map(({ name }) => name).join(', ') || 'none';
}

async function endedJob(transport: Transport, id: string, options: RequestOptions | undefined): Promise<Job> {
  const { data: job } = await getJob(transport, id, options);
  if (job.status === 'completed' || job.status === 'failed') return job;
  throw refusal('JOB_NOT_COMPLETED', `${id} is ${job.status}; wait for it with bulk.waitForJob`);
}

async function finishedExport(transport: Transport, id: string, options: RequestOptions | undefined): Promise<Job> {
  const job = await finishedJob(transport, id, options);
  if (job.type === 'export') return job;
  throw refusal('JOB_NOT_COMPLETED', `${id} is no export; read what an import reports with bulk.results`);
}

async function finishedJob(transport: Transport, id: string, options: RequestOptions | undefined): Promise<Job> {
  const job = await endedJob(transport, id, options);
  if (job.status === 'completed') {
    // What it does not name cannot be verified, and is not to be taken for an empty export.
    if (job.files !== undefined) return job;
    throw clientError('INVALID_RESPONSE', `${id} is completed, and the answer does not say which files it has`);
  }
  const reason = job.errors[0]?.message ?? 'no reason given';
  throw refusal('JOB_NOT_COMPLETED', `${id} has failed (${reason}), so that it has no files`);
}
