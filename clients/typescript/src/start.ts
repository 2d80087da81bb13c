import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { refusal } from './errors.js';
import { type BlobLike, collect, type ImportData, isBlob, isGzip } from './ndjson.js';
import type { RequestOptions } from './options.js';
import type { ImportableRecord } from './records.js';
import { isReport, isStartedJob } from './shapes.js';
import { unlessAborted } from './time.js';
import { type Answer, MAX_TEXT_BODY, type Transport } from './transport.js';
import type {
  Compression,
  ExportFiles,
  RecordFormat,
  ResourceType,
  StartedJob,
  Unmapped,
  ValidationReport,
} from './types.js';

/** What to import: the records themselves, or an upload that holds them. */
export type ImportRequest<T extends ResourceType = ResourceType> =
  | ImportRecords<T>
  | ImportResources<T>
  | ImportUpload<T>;

/** An import of the records given. */
export interface ImportRecords<T extends ResourceType = ResourceType> {
  /** The type of all records. */
  resourceType: T;
  /** 1 to 10,000 records, of 104,857,600 bytes at most. */
  data: ImportData<ImportableRecord<T>>;
  format?: 'flat';
  /** Up to 64 of `A-Za-z0-9 ._:-`, given back with the job. Not for patients' data. */
  label?: string;
}

/** An import of FHIR R4 resources. */
export interface ImportResources<T extends ResourceType = ResourceType> {
  /** The type of all resources. */
  resourceType: T;
  /** 1 to 10,000 resources, of 104,857,600 bytes at most. */
  data: ImportData;
  format: 'fhir';
  /** What becomes of elements that records have no member for. Default: `keep`. */
  unmapped?: Unmapped;
  /** Up to 64 of `A-Za-z0-9 ._:-`, given back with the job. Not for patients' data. */
  label?: string;
}

/** An import of what has been uploaded. */
export interface ImportUpload<T extends ResourceType = ResourceType> {
  /** The type of all records. */
  resourceType: T;
  /** Of `createUpload` or `upload`. An upload can be imported once, within the hour. */
  uploadId: string;
  /** What the upload holds. Default: `flat`. */
  format?: RecordFormat;
  /** With `fhir`: what becomes of elements that records have no member for. Default: `keep`. */
  unmapped?: Unmapped;
  /** Up to 64 of `A-Za-z0-9 ._:-`, given back with the job. Not for patients' data. */
  label?: string;
}

/** What to export. */
export interface ExportRequest {
  /** 1 to 62 types. */
  resourceTypes: readonly ResourceType[];
  /** Only records created or updated at that moment or later; RFC 3339 or a `Date`. Default: all records. */
  since?: string | Date;
  /** One file with `downloadUrl`, or one per type in `files`. Default: `single`. */
  files?: ExportFiles;
  /** Default: `none`. */
  compression?: Compression;
  /** Default: `flat`. With `fhir` there is one file per type. */
  format?: RecordFormat;
  /** Up to 64 of `A-Za-z0-9 ._:-`, given back with the job. Not for patients' data. */
  label?: string;
}

/** What to validate: records, or FHIR R4 resources. */
export type ValidateRequest<T extends ResourceType = ResourceType> = ValidateRecords<T> | ValidateResources<T>;

/** A validation of records. */
export interface ValidateRecords<T extends ResourceType = ResourceType> {
  /** The type of all records. */
  resourceType: T;
  /** 1 to 10,000 records, of 33,554,432 bytes at most; gzipped they have to fit into 4,500,000 bytes. */
  data: ImportData<ImportableRecord<T>>;
  format?: 'flat';
}

/** A validation of FHIR R4 resources. */
export interface ValidateResources<T extends ResourceType = ResourceType> {
  /** The type of all resources. */
  resourceType: T;
  /** 1 to 10,000 resources, with the limits of records. */
  data: ImportData;
  format: 'fhir';
  /** What becomes of elements that records have no member for. Default: `keep`. */
  unmapped?: Unmapped;
}

/** The records of one import, read and ready to be sent: in the call itself, or by upload. */
export interface Prepared {
  readonly resourceType: ResourceType;
  readonly label: string | undefined;
  /** Members of the request that the client does not know. The service says what they are: a typo, or nothing to it. */
  readonly unknown: object;
  readonly source: { readonly data: string } | { readonly bytes: Uint8Array | BlobLike };
}

/** Starts an import of what has been uploaded, or of the records in the call. */
export function startImport(
  transport: Transport,
  { resourceType, label, unknown, ...source }: Omit<Prepared, 'source'> & ({ data: string } | { uploadId: string }),
  options: RequestOptions | undefined,
): Promise<Answer<StartedJob>> {
  const body = { ...unknown, resourceType, ...source, ...(label !== undefined && { label }) };
  return transport.call({ method: 'POST', path: '/v1/bulk/import', body, expected: isStartedJob }, options);
}

export async function prepare(
  request: ImportRecords | ImportResources,
  signal: AbortSignal | undefined,
): Promise<Prepared> {
  const { resourceType, label, data, ...unknown } = request;
  const batch = await collect(data, MAX_TEXT_BODY, signal);
  const isSmall = batch.text !== undefined && fits({ ...unknown, resourceType, data: batch.text, label });
  const source = isSmall ? { data: batch.text } : { bytes: await unlessAborted(signal, () => compress(batch.bytes())) };
  return { resourceType, label, unknown, source };
}

/**
 * Records shrink to a tenth or less. Node's fetch breaks off an upload after five minutes, which on a slow line is too
 * short for a large batch as it is.
 */
async function compress(body: Uint8Array | BlobLike): Promise<Uint8Array | BlobLike> {
  if (isBlob(body) && (await isGzip(body))) return body;
  const bytes = isBlob(body) ? new Uint8Array(await body.arrayBuffer()) : body;
  const compressed = await promisify(gzip)(bytes);
  return compressed.byteLength < bytes.byteLength ? compressed : bytes;
}

function fits(body: object): boolean {
  return Buffer.byteLength(JSON.stringify(body)) < MAX_TEXT_BODY;
}

export function startExport(
  transport: Transport,
  request: ExportRequest,
  options: RequestOptions | undefined,
): Promise<Answer<StartedJob>> {
  const { resourceTypes, since, files, compression, format, label, ...unknown } = request;
  if (since instanceof Date && Number.isNaN(since.getTime())) throw new TypeError('since: expected a valid Date');
  const body = {
    ...unknown,
    resourceTypes,
    since: since instanceof Date ? since.toISOString() : since,
    files,
    compression,
    format,
    label,
  };
  return transport.call({ method: 'POST', path: '/v1/bulk/export', body, expected: isStartedJob }, options);
}

export async function validate(
  transport: Transport,
  request: ValidateRequest,
  options: RequestOptions | undefined,
): Promise<Answer<ValidationReport>> {
  const { resourceType, data, ...unknown } = request;
  const batch = await collect(data, Number.POSITIVE_INFINITY, transport.options(options).signal);
  if (batch.text === undefined) throw refusal('INVALID_RECORD', 'data: expected NDJSON in UTF-8, not compressed');
  const body = { ...unknown, resourceType, data: batch.text };
  return transport.call({ method: 'POST', path: '/v1/bulk/validate', body, expected: isReport }, options);
}
