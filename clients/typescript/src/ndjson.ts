import { types } from 'node:util';
import { refusal } from './errors.js';
import { encodeRecord } from './json.js';
import { unlessAborted, untilAborted } from './time.js';

/** Records in one batch, at most. */
export const MAX_RECORDS = 10_000;
/** Bytes in one batch, at most. */
export const MAX_BYTES = 104_857_600;

/** The parts of a `Blob` that the client uses; also what `fs.openAsBlob` gives. */
export interface BlobLike {
  /** Bytes. */
  readonly size: number;
  slice(start?: number, end?: number, type?: string): BlobLike;
  arrayBuffer(): Promise<ArrayBuffer>;
}

/**
 * Records to send: NDJSON as text or as a `Blob`, or objects, of which each becomes a line. NDJSON is sent byte for
 * byte; numbers of more than 15 digits, for example, survive only that way.
 */
export type ImportData<R extends object = object> = string | Iterable<R> | AsyncIterable<R> | BlobLike;

const NEWLINE = 0x0a;
const READ_BYTES = 1_048_576;
// Half of a surrogate pair, which UTF-8 cannot express.
const HALF_PAIR = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;

export function isBlob(data: unknown): data is BlobLike {
  return typeof data === 'object' && data !== null && 'arrayBuffer' in data && 'slice' in data && 'size' in data;
}

export async function isGzip(blob: BlobLike): Promise<boolean> {
  const [first, second] = new Uint8Array(await blob.slice(0, 2).arrayBuffer());
  return first === 0x1f && second === 0x8b;
}

/** UTF-8, with an invalid byte for half of a surrogate pair: its line is then reported, instead of stored altered. */
export function encodeText(text: string): Uint8Array {
  if (text.isWellFormed()) return new TextEncoder().encode(text);
  const parts = text.split(HALF_PAIR).map((part) => Buffer.from(part));
  return Buffer.concat(parts.flatMap((part, index) => (index === 0 ? [part] : [Buffer.of(0xff), part])));
}

/**
 * Checks that records can be read from what was given, before anything is sent.
 *
 * @param name of the member of the request
 */
export function checkData(name: string, data: unknown): asserts data is ImportData {
  const found = faultOf(data);
  if (found === undefined) return;
  throw new TypeError(
    `${name} must be NDJSON text, an array or (async) iterable of records, or a Blob of NDJSON; it is ${found}`,
  );
}

function faultOf(data: unknown): string | undefined {
  if (typeof data === 'string') return undefined;
  if (typeof data === 'function') return 'a function: call it';
  if (data === null || data === undefined) return String(data);
  if (typeof data !== 'object') return `a ${typeof data}`;
  if (ArrayBuffer.isView(data) || types.isAnyArrayBuffer(data)) return 'bytes: make a Blob of them, or text';
  if (isBlob(data) || Symbol.iterator in data || Symbol.asyncIterator in data) return undefined;
  if ('then' in data && typeof data.then === 'function') return 'a Promise: await it';
  return 'one object: put it into an array';
}

/** Records as lines; text and blobs are split at `\n` alone and stay as they are, blank lines and `\r` included. */
export async function* readLines(
  data: ImportData,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (typeof data === 'string') {
    yield* splitLines(chunksOfText(data));
  } else if (isBlob(data)) {
    yield* splitLines(untilAborted(signal, chunksOfBlob(data)));
  } else {
    const encoder = new TextEncoder();
    let number = 0;
    for await (const record of untilAborted(signal, data)) yield encoder.encode(encodeRecord(record, ++number));
  }
}

async function* chunksOfText(text: string): AsyncGenerator<Uint8Array, void, undefined> {
  for (let start = 0; start < text.length; ) {
    let end = Math.min(start + READ_BYTES, text.length);
    // Not between the halves of a surrogate pair.
    if (end < text.length && (text.charCodeAt(end - 1) & 0xfc00) === 0xd800) end++;
    yield encodeText(text.slice(start, end));
    start = end;
  }
}

/** The bytes of a blob, piece by piece. */
export async function* chunksOfBlob(blob: BlobLike): AsyncGenerator<Uint8Array, void, undefined> {
  for (let start = 0; start < blob.size; start += READ_BYTES) {
    yield new Uint8Array(await blob.slice(start, start + READ_BYTES).arrayBuffer());
  }
}

/** Splits bytes at `\n` and at nothing else: U+2028 and a carriage return may stand in a record. */
export async function* splitLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  let rest: Uint8Array[] = [];
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      const tail = chunk.subarray(start, end);
      yield rest.length === 0 ? tail : Buffer.concat([...rest, tail]);
      rest = [];
      start = end + 1;
    }
    if (start < chunk.length) rest.push(chunk.subarray(start));
  }
  if (rest.length > 0) yield Buffer.concat(rest);
}

/** A batch as it is sent. */
export interface Batch {
  /** The NDJSON as text, where it is valid UTF-8 and may be small enough for a call. */
  readonly text?: string;
  /** The NDJSON as bytes, for an upload. */
  readonly bytes: () => Uint8Array | BlobLike;
  readonly size: number;
}

/** Collects the records of one call; refuses what no call can carry. */
export async function collect(data: ImportData, textLimit: number, signal?: AbortSignal): Promise<Batch> {
  checkData('data', data);
  if (typeof data === 'string') {
    checkRecords(countLines(data));
    return ofText(data, textLimit);
  }
  if (isBlob(data)) return unlessAborted(signal, () => ofBlob(data, textLimit));
  const lines: string[] = [];
  let length = 0;
  for await (const record of untilAborted(signal, data)) {
    const line = encodeRecord(record, lines.length + 1);
    lines.push(line);
    length += line.length + 1;
    checkRecords(lines.length);
    checkBytes(length);
  }
  return ofText(lines.join('\n'), textLimit);
}

function ofText(text: string, textLimit: number): Batch {
  if (text.length < textLimit) {
    return { text, bytes: () => encodeText(text), size: Buffer.byteLength(text) };
  }
  const bytes = encodeText(text);
  checkBytes(bytes.byteLength);
  return { bytes: () => bytes, size: bytes.byteLength };
}

async function ofBlob(blob: BlobLike, textLimit: number): Promise<Batch> {
  checkBytes(blob.size);
  // Without its type, which would become a header of the upload.
  const upload = { bytes: () => blob.slice(0, blob.size, ''), size: blob.size };
  if (blob.size >= textLimit) return upload;
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(await blob.arrayBuffer());
    checkRecords(countLines(text));
    return { ...upload, text };
  } catch (error) {
    // Gzip, or invalid UTF-8, which the service reports by line.
    if (error instanceof TypeError) return upload;
    throw error;
  }
}

function countLines(text: string): number {
  let count = 1;
  const last = text.endsWith('\n') ? text.length - 1 : text.length;
  for (let at = text.indexOf('\n'); at !== -1 && at < last; at = text.indexOf('\n', at + 1)) count++;
  return count;
}

function checkRecords(count: number): void {
  if (count <= MAX_RECORDS) return;
  throw refusal(
    'TOO_MANY_RECORDS',
    `a call takes at most 10,000 records; use bulk.importAll, which cuts any number of records into batches`,
  );
}

function checkBytes(count: number): void {
  if (count <= MAX_BYTES) return;
  throw refusal(
    'BATCH_TOO_LARGE',
    'a call takes at most 104,857,600 bytes; use bulk.importAll, which cuts any number of records into batches',
  );
}
