import { refusal } from './errors.js';
import { type ImportData, isBlob, MAX_BYTES, MAX_RECORDS, readLines } from './ndjson.js';
import type { SeenIds } from './seen-ids.js';
import type { ResourceType } from './types.js';

/** A record that was not sent: an earlier one has the same `id`. */
export interface DuplicateRecord {
  /** Its number among all records, from 1. */
  record: number;
  /** The number of the record that has the id, from 1. */
  firstRecord: number;
  code: 'duplicate_id';
  path: '/id';
  /** For example `id: Same as in record 17`. */
  message: string;
}

/** A part of the records, for one job. */
export interface Batch {
  /** The batch, from 0. */
  readonly index: number;
  /** Its first record among all, from 0. */
  readonly firstRecord: number;
  /** Records in it, without duplicates. */
  records: number;
  /** Of NDJSON, line ends included. */
  bytes: number;
  /** Records that were given in between or behind, and are not in it. */
  duplicateRecords: number;
  /** The first of them. */
  readonly duplicates: DuplicateRecord[];
  /** The number of each of its records among all, from 1. */
  readonly numbers: number[];
  /** The NDJSON, in pieces. */
  readonly lines: Uint8Array[];
}

/** How records are cut into batches. */
export interface Cutting {
  readonly resourceType: ResourceType;
  /** The ids of the records that were sent; none where duplicates are sent, too. */
  readonly seen: SeenIds | undefined;
  readonly onDuplicate: ((duplicate: DuplicateRecord) => unknown) | undefined;
  readonly signal: AbortSignal | undefined;
}

/** How many duplicates a batch shows, as a job shows as many violations. */
const MAX_SHOWN = 100;
const UTF_8 = new TextDecoder('utf-8', { fatal: true });
const LINE_END = Uint8Array.of(0x0a);

/** Cuts records into batches of 10,000 records and 104,857,600 bytes at most. */
export async function* cut(records: ImportData, cutting: Cutting): AsyncGenerator<Batch, void, undefined> {
  const { seen, signal } = cutting;
  let batch = emptyBatch(0, 0);
  let given = 0;
  for await (const line of readLines(records, signal)) {
    signal?.throwIfAborted();
    given++;
    const bytes = line.byteLength + 1;
    if (bytes > MAX_BYTES) throw refusal('BATCH_TOO_LARGE', `record ${given}: it is larger than a batch may be`);
    const id = seen && idOf(line, cutting.resourceType);
    const first = id === undefined ? undefined : seen?.add(id, given);
    if (first !== undefined) {
      const message = `id: Same as in record ${first}`;
      const duplicate = { record: given, firstRecord: first, code: 'duplicate_id', path: '/id', message } as const;
      batch.duplicateRecords++;
      if (batch.duplicates.length < MAX_SHOWN) batch.duplicates.push(duplicate);
      await cutting.onDuplicate?.(duplicate);
      continue;
    }
    if (batch.records === MAX_RECORDS || batch.bytes + bytes > MAX_BYTES) {
      yield batch;
      batch = emptyBatch(batch.index + 1, given - 1);
    }
    batch.lines.push(line, LINE_END);
    batch.numbers.push(given);
    batch.records++;
    batch.bytes += bytes;
  }
  // A duplicate follows its first record: there is none without a batch.
  if (batch.records > 0) yield batch;
}

function emptyBatch(index: number, firstRecord: number): Batch {
  return { index, firstRecord, records: 0, bytes: 0, duplicateRecords: 0, duplicates: [], numbers: [], lines: [] };
}

/** The `id` that the service would store a line under; of a line that it rejects for its form, none. */
function idOf(line: Uint8Array, resourceType: ResourceType): string | undefined {
  let record: unknown;
  try {
    record = JSON.parse(UTF_8.decode(line));
  } catch {
    return undefined;
  }
  if (typeof record !== 'object' || record === null) return undefined;
  const { id, resourceType: type = resourceType } = record as { id?: unknown; resourceType?: unknown };
  return type === resourceType && typeof id === 'string' && /^[A-Za-z0-9._-]{1,64}$/.test(id) ? id : undefined;
}

/** How many records there are, where that can be known before they are read. */
export async function countRecords(records: ImportData, signal: AbortSignal | undefined): Promise<number | undefined> {
  if (Array.isArray(records)) return records.length;
  if (records instanceof Set) return records.size;
  if (typeof records !== 'string' && !isBlob(records)) return undefined;
  let count = 0;
  for await (const _ of readLines(records, signal)) count++;
  return count;
}
