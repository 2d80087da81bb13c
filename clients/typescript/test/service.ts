import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { Clinik, type ClinikOptions, type Job, type JobFile } from '../src/index.js';
import { type Recorded, type Reply, TestServer } from './http.js';
import { bodyOf, duplicate, failure, inflate, invalid, isDestroyed, LIMITS, success, violation } from './replies.js';

export { bodyOf, failure, inflate, invalid, success } from './replies.js';

export const KEY = 'clk_test_StubKey0123456789';

interface StoredFile {
  readonly meta: JobFile;
  readonly bytes: Buffer;
}

interface StoredUpload {
  readonly bytes: number;
  content?: Buffer;
  /** The job that has imported it. */
  usedBy?: string;
  isExpired?: boolean;
}

interface StoredJob {
  job: Job;
  readonly files: StoredFile[];
}

/**
 * The service in memory, as the contract describes it, as far as a client can tell: an API under a path of its own, and
 * a store on another port behind pre-signed URLs.
 */
export class Service {
  readonly jobs = new Map<string, StoredJob>();
  readonly records = new Map<string, object>();
  /** What exports with `since` tell of. */
  readonly deletions: object[] = [];
  /** How often each line was stored. */
  readonly writes = new Map<string, number>();
  readonly uploads = new Map<string, StoredUpload>();
  /** Bulk operations that are left; `null` is unlimited. */
  operations: number | null = null;
  /** Seconds until the next bulk operation is available. */
  slotSeconds = 1;
  /** Polls that find a job unfinished. */
  pendingPolls = 0;
  /** `Retry-After` of an unfinished job. */
  pollSeconds = '1';
  readonly #starts = new Map<string, { body: string; jobId: string }>();
  #number = 0;

  private constructor(
    readonly api: TestServer,
    readonly store: TestServer,
  ) {}

  static async start(): Promise<Service> {
    let service: Service;
    const api = await TestServer.start((request) => service.#answer(request));
    const store = await TestServer.start((request) => service.#answerStore(request));
    service = new Service(api, store);
    return service;
  }

  get url(): string {
    return `${this.api.origin}/_aws/execute-api/abc/$default`;
  }

  client(options?: ClinikOptions): Clinik {
    return new Clinik(KEY, { baseUrl: this.url, ...options });
  }

  async stop(): Promise<void> {
    await Promise.all([this.api.stop(), this.store.stop()]);
  }

  /** Adds a completed job with these files. */
  addJob(type: Job['type'], files: Record<string, string | Uint8Array>, more?: Partial<Job>): string {
    const id = this.#id('job');
    const stored = Object.entries(files).map(([name, content]) => this.#file(id, name, Buffer.from(content)));
    const held = stored.filter(({ meta }) => meta.name !== 'deleted.ndjson');
    const totalRecords = stored.length === 0 ? 2 : held.reduce((sum, { meta }) => sum + meta.records, 0);
    const job: Job = {
      ...{ id, type, status: 'completed', outcome: 'succeeded', totalRecords, processedRecords: totalRecords },
      ...{ errors: [], errorCount: 0, errorsTruncated: false, files: stored.map(({ meta }) => meta) },
      ...{ createdAt: '2026-01-15T09:15:00.000Z', expiresAt: '2026-01-22T09:15:00.000Z' },
      ...more,
    };
    this.jobs.set(id, { job, files: stored });
    return id;
  }

  #id(kind: string): string {
    return `${kind}_${String(++this.#number).padStart(26, '0')}`;
  }

  #file(jobId: string, name: string, bytes: Buffer): StoredFile {
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const records = countLines(bytes);
    const url = `${this.url}/v1/bulk/jobs/${jobId}/files/${name}`;
    return { meta: { name, records, bytes: bytes.byteLength, sha256, url }, bytes };
  }

  #answer(request: Recorded): Reply {
    const path = request.path.slice('/_aws/execute-api/abc/$default'.length);
    const { headers } = request;
    if (headers['x-api-key'] !== KEY) return failure(401, 'INVALID_KEY', 'Unknown key');
    if (isDestroyed(request)) return failure(415, 'UNSUPPORTED_MEDIA_TYPE', 'Send gzip as application/fhir+json');
    const body = bodyOf(request);
    const [, , , collection, id, action, name] = path.split('/');
    switch (`${request.method} ${collection}${action === undefined ? '' : `/${action}`}`) {
      case 'POST import':
      case 'POST export':
        return this.#start(collection as 'import' | 'export', body, headers['idempotency-key'] as string);
      case 'POST uploads':
        return this.#createUpload(JSON.parse(body).bytes);
      case 'POST validate':
        return success(200, this.#validate(JSON.parse(body).data));
      case 'GET limits':
        return success(200, LIMITS);
      case 'GET jobs':
        return id === undefined ? this.#list(request.query) : this.#poll(id);
      case 'POST jobs/cancel':
        return this.#with(id, ({ job }) => success(200, job));
      case 'DELETE jobs':
        return this.#with(id, () => {
          this.jobs.delete(id ?? '');
          return { status: 204, headers: { 'x-request-id': 'req_204' } };
        });
      case 'GET jobs/files':
        return this.#with(id, ({ files }) => {
          if (name === 'SHA256SUMS') {
            return { body: files.map(({ meta }) => `${meta.sha256}  ${meta.name}\n`).join('') };
          }
          if (!files.some(({ meta }) => meta.name === name)) return failure(404, 'NOT_FOUND', 'Not found');
          const location = `${this.store.origin}/${id}/${name}?X-Amz-Signature=secret`;
          return { status: 307, headers: { location, 'x-request-id': 'req_307' } };
        });
      default:
        return failure(404, 'NOT_FOUND', 'Not found');
    }
  }

  #with(id: string | undefined, answer: (stored: StoredJob) => Reply): Reply {
    const stored = this.jobs.get(id ?? '');
    return stored ? answer(stored) : failure(404, 'NOT_FOUND', 'Not found');
  }

  #start(type: 'import' | 'export', body: string, key: string): Reply {
    const known = this.#starts.get(key);
    if (known !== undefined && known.body !== body) return failure(409, 'IDEMPOTENCY_CONFLICT', 'Another body');
    const request = JSON.parse(body);
    const upload = this.uploads.get(request.uploadId);
    if (known === undefined && request.uploadId !== undefined) {
      if (upload === undefined) return invalid('uploadId: Unknown upload');
      if (upload.usedBy !== undefined) return invalid(`uploadId: Used by ${upload.usedBy}`);
      if (upload.isExpired) return invalid('uploadId: Expired');
      if (upload.content === undefined) return invalid('uploadId: Nothing has been uploaded');
    }
    if (known === undefined && this.operations === 0) {
      return failure(429, 'RATE_LIMITED', 'Hourly bulk operation limit reached', this.slotSeconds);
    }
    const start = () => (type === 'import' ? this.#import(request, upload?.content) : this.#export(request));
    const jobId = known?.jobId ?? start();
    if (upload !== undefined) upload.usedBy = jobId;
    if (known === undefined && this.operations !== null) this.operations--;
    this.#starts.set(key, { body, jobId });
    return success(
      202,
      { jobId, status: 'pending', message: 'Job started' },
      this.operations ?? 1000,
      this.slotSeconds,
    );
  }

  /** The service has forgotten the keys, as after 24 hours. */
  forgetKeys(): void {
    this.#starts.clear();
  }

  #import(body: { resourceType: string; data?: string; label?: string }, uploaded: Buffer | undefined): string {
    const data = body.data ?? inflate(uploaded ?? Buffer.of()).toString();
    const lines = data.replace(/\n$/, '').split('\n');
    const errors: string[] = [];
    const rejected: string[] = [];
    const ids = new Map<string, number>();
    const results = lines.map((line, index) => {
      const fault = violation(line) ?? duplicate(line, index + 1, ids);
      if (fault === undefined) {
        const record = JSON.parse(line);
        const id = record.id ?? `${this.#number}-${index}`;
        this.records.set(id, { ...record, id });
        this.writes.set(line, (this.writes.get(line) ?? 0) + 1);
        return JSON.stringify({ line: index + 1, outcome: 'created', id });
      }
      errors.push(JSON.stringify({ index, line: index + 1, ...fault }));
      rejected.push(line);
      return JSON.stringify({ line: index + 1, outcome: 'rejected' });
    });
    const file = (all: string[]) => all.map((line) => `${line}\n`).join('');
    const reports = errors.length > 0 ? { 'errors.ndjson': file(errors), 'rejected.ndjson': file(rejected) } : {};
    return this.addJob(
      'import',
      { ...reports, 'results.ndjson': file(results) },
      {
        ...{ totalRecords: lines.length, processedRecords: lines.length, failedRecords: errors.length },
        ...{ succeededRecords: lines.length - errors.length, outcome: errors.length > 0 ? 'partial' : 'succeeded' },
        ...{ errors: errors.slice(0, 100).map((line) => JSON.parse(line)), errorCount: errors.length },
        ...(body.label !== undefined && { label: body.label }),
      },
    );
  }

  /** All records are taken for the first type. */
  #export(body: { resourceTypes: string[]; files?: string; compression?: string; since?: string }): string {
    const content = [...this.records.values()].map((record) => `${JSON.stringify(record)}\n`).join('');
    const single = `job_${String(this.#number + 1).padStart(26, '0')}`;
    const name = `${body.files === 'perType' ? body.resourceTypes[0] : single}.ndjson`;
    const files = body.compression === 'gzip' ? { [`${name}.gz`]: gzipSync(content) } : { [name]: content };
    const count = this.records.size;
    const lines = body.since === undefined ? [] : this.deletions.map((each) => `${JSON.stringify(each)}\n`);
    const deleted = lines.length === 0 ? {} : { 'deleted.ndjson': lines.join('') };
    const more = { totalRecords: count, processedRecords: count, transactionTime: '2026-01-15T09:10:00.000Z' };
    return this.addJob('export', { ...files, ...deleted }, more);
  }

  #createUpload(bytes: number): Reply {
    const uploadId = this.#id('upl');
    this.uploads.set(uploadId, { bytes });
    const uploadUrl = `${this.store.origin}/uploads/${uploadId}?X-Amz-Signature=secret`;
    return success(201, { uploadId, uploadUrl, expiresAt: '2026-01-15T10:15:00.000Z', maxBytes: 104_857_600 });
  }

  #validate(data: string): object {
    const lines = data.replace(/\n$/, '').split('\n');
    const errors = lines.flatMap((line, index) => {
      const fault = violation(line);
      return fault === undefined ? [] : [{ index, line: index + 1, ...fault }];
    });
    const counts = { totalRecords: lines.length, validRecords: lines.length - errors.length };
    return { ...counts, invalidRecords: errors.length, errors, errorCount: errors.length, errorsTruncated: false };
  }

  #list(query: URLSearchParams): Reply {
    const statuses = query.get('status')?.split(',');
    const all = [...this.jobs.values()]
      .map(({ job }) => job)
      .filter(({ status }) => statuses?.includes(status) ?? true);
    const start = Number(query.get('cursor') ?? 0);
    const end = start + Number(query.get('count') ?? 20);
    const data = all.slice(start, end).map(({ errors: _, ...job }) => job);
    return success(200, { data, hasMore: end < all.length, ...(end < all.length && { cursor: String(end) }) });
  }

  #poll(id: string): Reply {
    return this.#with(id, ({ job }) => {
      if (this.pendingPolls <= 0) return success(200, job);
      this.pendingPolls--;
      const { outcome: _, files: __, ...open } = job;
      const reply = success(200, { ...open, status: 'processing', processedRecords: 1 });
      return { ...reply, headers: { ...reply.headers, 'retry-after': this.pollSeconds } };
    });
  }

  #answerStore(request: Recorded): Reply {
    const [, folder, name] = request.path.split('/');
    if (request.method === 'PUT') {
      const upload = this.uploads.get(name ?? '');
      // The length is signed.
      if (request.body.byteLength !== upload?.bytes) return { status: 403, body: '<Error/>' };
      upload.content = request.body;
      return { headers: { etag: '"stored"' } };
    }
    const file = this.jobs.get(folder ?? '')?.files.find(({ meta }) => meta.name === name);
    if (file === undefined) return { status: 403, body: '<Error/>' };
    const etag = `"${file.meta.sha256.slice(0, 32)}"`;
    const { 'if-match': match, range } = request.headers;
    if (match !== undefined && match !== etag) return { status: 412 };
    if (range === undefined) return { headers: { etag }, body: file.bytes };
    const start = Number(/^bytes=(\d+)-$/.exec(range)?.[1]);
    const contentRange = `bytes ${start}-${file.bytes.byteLength - 1}/${file.bytes.byteLength}`;
    return { status: 206, headers: { etag, 'content-range': contentRange }, body: file.bytes.subarray(start) };
  }
}

/** Lines of a file, blank ones included; of gzip that is broken 0. */
function countLines(bytes: Buffer): number {
  try {
    return (
      inflate(bytes)
        .toString()
        .match(/[^\n]*\n|[^\n]+$/g)?.length ?? 0
    );
  } catch {
    return 0;
  }
}
