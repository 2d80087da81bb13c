import { refusal } from './errors.js';
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
export type ImportData = string | Iterable<object> | AsyncIterable<object> | BlobLike;

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

/** A record as its line, without the line end. */
export function encodeRecord(record: unknown, index: number): string {
  // A stream of bytes would become one record for each chunk.
  if (ArrayBuffer.isView(record) || record instanceof ArrayBuffer) {
    throw new TypeError(`record ${index}: bytes, where objects are expected; for a file use fs.openAsBlob(path)`);
  }
  if (typeof record !== 'object' || record === null || Array.isArray(record)) {
    throw new TypeError(`record ${index}: expected an object`);
  }
  let line: string | undefined;
  try {
    line = JSON.stringify(record);
  } catch {
    // The engine's own message may show parts of the record.
  }
  if (line === undefined) throw new TypeError(`record ${index}: cannot be written as JSON`);
  return line;
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
    let index = 0;
    for await (const record of untilAborted(signal, data))
      yield new TextEncoder().encode(encodeRecord(record, index++));
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
  if (typeof data === 'string') {
    checkRecords(countLines(data));
    return ofText(data, textLimit);
  }
  if (isBlob(data)) return unlessAborted(signal, () => ofBlob(data, textLimit));
  if (typeof data !== 'object' || data === null) {
    throw new TypeError('data: expected NDJSON as a string or Blob, or an iterable of objects');
  }
  const lines: string[] = [];
  let length = 0;
  for await (const record of untilAborted(signal, data)) {
    const line = encodeRecord(record, lines.length);
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
