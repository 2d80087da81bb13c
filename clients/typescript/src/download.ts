import { createHash } from 'node:crypto';
import { isOfApi, notTheApi } from './answer.js';
import { ClinikApiError, ClinikTimeoutError, clientError } from './errors.js';
import { jobPath } from './jobs.js';
import type { RequestOptions } from './options.js';
import { isForeign, isTransient, parseRetryAfter, patiently, withRetries } from './retry.js';
import { within } from './time.js';
import type { Transport } from './transport.js';
import type { JobFile } from './types.js';

type Settings = ReturnType<Transport['options']>;
type Reader = ReadableStreamDefaultReader<Uint8Array>;

/** A connection to a file, from some byte on. */
interface Source {
  readonly reader: Reader;
  /** The byte that is read next. */
  position: number;
  /** Where it leads. */
  readonly url: string;
  /** Names the file's content; a resumed download must be of the same. */
  readonly etag: string | undefined;
}

/**
 * Downloads a file of a job. A connection that breaks is resumed where it broke; at the end size and hash are checked
 * against `file`, and a file that is not what it should be is an error in place of the stream's end.
 *
 * @param file what the job says of it
 */
export async function download(
  transport: Transport,
  id: string,
  file: JobFile,
  options: RequestOptions | undefined,
): Promise<ReadableStream<Uint8Array>> {
  const transfer = new Transfer(transport, id, file, options);
  // The first connection is made here, so that a file that is not there is an error of the call.
  await transfer.connect();
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        const chunk = await transfer.next();
        if (chunk === undefined) controller.close();
        else controller.enqueue(chunk);
      },
      cancel: () => transfer.close(),
    },
    // Nothing is read that nobody asked for: a consumer that is slow fills no memory.
    { highWaterMark: 0 },
  );
}

/** The same, chunk by chunk. Whoever reads it to its end has what it should be; whoever leaves early closes it. */
export async function* downloadChunks(
  transport: Transport,
  id: string,
  file: JobFile,
  options: RequestOptions | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  const transfer = new Transfer(transport, id, file, options);
  try {
    for (let chunk = await transfer.next(); chunk !== undefined; chunk = await transfer.next()) yield chunk;
  } finally {
    await transfer.close();
  }
}

/** A download on its way. What ends it, be it an error or the user, closes it, and then it connects no more. */
class Transfer {
  readonly #transport: Transport;
  readonly #path: string;
  readonly #name: string;
  readonly #file: JobFile;
  readonly #settings: Settings;
  readonly #hash = createHash('sha256');
  /** Stops whatever is under way. */
  readonly #closing = new AbortController();
  #source: Source | undefined;
  #offset = 0;
  #etag: string | undefined;
  // An aborted download frees its connection at once, even if nobody reads on.
  readonly #onAbort = () => void this.close(this.#settings.signal?.reason);

  constructor(transport: Transport, id: string, file: JobFile, options: RequestOptions | undefined) {
    this.#transport = transport;
    this.#path = `${jobPath(id)}/files/${file.name}`;
    this.#name = file.name;
    this.#file = file;
    this.#settings = transport.options(options);
    const { signal } = this.#settings;
    signal?.throwIfAborted();
    signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** Makes the first connection, as a call of its own. */
  async connect(): Promise<void> {
    const { signal } = this.#closing;
    await this.#closeOnError(async () => {
      this.#source = await withRetries(this.#settings.retries, signal, () => this.#open());
      signal.throwIfAborted();
    });
  }

  /** The next bytes, or `undefined` at the end of a file that is complete and right. */
  async next(): Promise<Uint8Array | undefined> {
    return this.#closeOnError(async () => {
      // Until there is a byte it is one outage, whether it connects or not.
      const chunk = await patiently({ signal: this.#closing.signal, isOutage: isCut }, () => this.#advance());
      if (chunk === undefined) {
        this.#verify();
        await this.close();
      } else {
        this.#offset += chunk.byteLength;
        this.#hash.update(chunk);
      }
      return chunk;
    });
  }

  /** Ends the download, complete or not. */
  async close(reason?: unknown): Promise<void> {
    this.#settings.signal?.removeEventListener('abort', this.#onAbort);
    this.#closing.abort(reason ?? clientError('DOWNLOAD_CLOSED', `${this.#name}: the download was closed`));
    await this.#disconnect();
  }

  async #closeOnError<T>(operation: () => Promise<T>): Promise<T> {
    try {
      return await operation();
    } catch (error) {
      await this.close(error);
      throw error;
    }
  }

  async #disconnect(): Promise<void> {
    const source = this.#source;
    this.#source = undefined;
    // The connection may be broken already, which is no news.
    await source?.reader.cancel().catch(() => undefined);
  }

  /** Bytes that are new, by a connection that is made where there is none. */
  async #advance(): Promise<Uint8Array | undefined> {
    this.#closing.signal.throwIfAborted();
    const source = this.#source ?? (await this.#open());
    this.#source = source;
    this.#etag ??= source.etag;
    try {
      for (;;) {
        const chunk = await this.#read(source);
        if (chunk === undefined || chunk.byteLength > 0) return chunk;
      }
    } catch (error) {
      await this.#disconnect();
      throw error;
    }
  }

  async #read(source: Source): Promise<Uint8Array | undefined> {
    const { timeout } = this.#settings;
    const onTimeout = () =>
      new ClinikTimeoutError('REQUEST_TIMEOUT', `${this.#name}: no data within ${timeout} ms at byte ${this.#offset}`);
    const result = await within(timeout, this.#closing.signal, onTimeout, async (inner) => {
      try {
        return await source.reader.read();
      } catch (error) {
        throw inner.aborted ? error : this.#transport.networkError(this.#name, source.url, error);
      }
    });
    if (!result.done) {
      // A store that takes no ranges sends the whole file again: what is there already is read past.
      const known = Math.min(this.#offset - source.position, result.value.byteLength);
      source.position += result.value.byteLength;
      return result.value.subarray(known);
    }
    const { bytes } = this.#file;
    if (this.#offset >= bytes) return undefined;
    throw clientError('DOWNLOAD_INCOMPLETE', `${this.#name}: it ended at byte ${this.#offset} of ${bytes}`);
  }

  #verify(): void {
    const { bytes, sha256 } = this.#file;
    const isRight = this.#offset === bytes && this.#hash.digest('hex') === sha256.toLowerCase();
    if (!isRight) throw clientError('CHECKSUM_MISMATCH', `${this.#name}: the content is not what the job has written`);
  }

  /** Asks the API where the file is, and goes there. A link that has expired on the way is asked for once more. */
  async #open(): Promise<Source> {
    const source = (await this.#fetchFrom(await this.#locate())) ?? (await this.#fetchFrom(await this.#locate()));
    if (source !== undefined) return source;
    throw clientError('FILE_GONE', `${this.#name}: it is no longer there; jobs and their files are kept for some days`);
  }

  /** A link to the file. */
  #locate(): Promise<string> {
    const name = `GET ${this.#path}`;
    const options = { timeout: this.#settings.timeout, signal: this.#closing.signal };
    return this.#transport.callForFile(this.#path, options, async (response) => {
      const location = response.headers.get('location');
      const isLink = response.status === 307 && location !== null && isOfApi(response);
      if (!isLink && !response.ok) throw await this.#transport.error(name, response);
      await response.body?.cancel();
      if (!isLink) throw notTheApi(name, response.status);
      return this.#transport.checkLink(this.#name, location);
    });
  }

  /** Gets the file, or its rest, from the store; `undefined` if the link does not work. */
  #fetchFrom(url: string): Promise<Source | undefined> {
    const isResumed = this.#offset > 0;
    // No key: it would be handed to another host. Not compressed on the way: bytes are counted and hashed.
    const headers: Record<string, string> = { 'accept-encoding': 'identity' };
    if (isResumed) {
      headers.range = `bytes=${this.#offset}-`;
      if (this.#etag !== undefined) headers['if-match'] = this.#etag;
    }
    const { timeout } = this.#settings;
    const { signal } = this.#closing;
    const read = async (response: Response): Promise<Source | undefined> => {
      // The whole, also where a rest was asked for: then of the same content.
      const isSame = !isResumed || this.#etag === undefined || response.headers.get('etag') === this.#etag;
      if (response.status === 200 && isSame) return toSource(url, response, 0);
      if (isResumed && response.status === 206) {
        const range = response.headers.get('content-range') ?? '';
        if (range.startsWith(`bytes ${this.#offset}-`)) return toSource(url, response, this.#offset);
      }
      await response.body?.cancel();
      if (response.status === 403 || response.status === 404) return undefined;
      if (response.status === 412) throw clientError('FILE_CHANGED', `${this.#name}: it changed during the download`);
      throw new ClinikApiError({
        status: response.status,
        // A success that is none is a proxy's.
        code: response.ok ? 'INVALID_RESPONSE' : 'API_ERROR',
        message: `${this.#name}: the store answered with ${response.status}`,
        retryAfter: parseRetryAfter(response.headers),
      });
    };
    return this.#transport.exchange({ name: this.#name, url, init: { headers }, timeout, signal, read });
  }
}

/** Whether a download may go on where this has stopped it. */
function isCut(error: unknown): boolean {
  const isShort = error instanceof ClinikApiError && error.code === 'DOWNLOAD_INCOMPLETE';
  return isShort || isTransient(error) || isForeign(error);
}

function toSource(url: string, response: Response, position: number): Source {
  const body = response.body as ReadableStream<Uint8Array> | null;
  return {
    url,
    position,
    reader: (body ?? new Blob([]).stream()).getReader() as Reader,
    etag: response.headers.get('etag') ?? undefined,
  };
}
