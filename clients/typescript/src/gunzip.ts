import { once } from 'node:events';
import { createGunzip } from 'node:zlib';
import { clientError } from './errors.js';

/** How much is inflated at once, in bytes: it may become a thousand times as much. */
const STEP = 65_536;

/**
 * Inflates gzip of any number of members. All of the input is read: Node's own stream takes a zero behind a member for
 * padding and ends, whatever comes then. Zeros behind a member are skipped, and what follows them has to be a member.
 *
 * @param name of the file, for errors
 */
export async function* gunzip(
  name: string,
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  let members: Members | undefined;
  let isFirst = true;
  try {
    for await (const chunk of chunks) {
      for (let rest = chunk; ; ) {
        if (members === undefined) {
          if (!isFirst) rest = rest.subarray(zeros(rest));
          if (rest.byteLength === 0) break;
          members = new Members(name);
          isFirst = false;
        }
        const step = rest.subarray(0, STEP);
        const taken = await members.write(step);
        yield* members.inflated();
        rest = rest.subarray(taken);
        if (taken < step.byteLength) {
          members.destroy();
          members = undefined;
        } else if (rest.byteLength === 0) {
          break;
        }
      }
    }
    if (isFirst) throw broken(name);
    await members?.end();
    yield* members?.inflated() ?? [];
  } finally {
    members?.destroy();
  }
}

/** Members that follow one another without a zero between. */
class Members {
  readonly #gunzip = createGunzip();
  readonly #name: string;
  #chunks: Buffer[] = [];
  readonly #failed: Promise<never>;

  constructor(name: string) {
    this.#name = name;
    this.#gunzip.on('data', (chunk: Buffer) => this.#chunks.push(chunk));
    this.#failed = new Promise((_, reject) => this.#gunzip.once('error', () => reject(broken(this.#name))));
    // It is looked at whenever something is awaited.
    this.#failed.catch(() => undefined);
  }

  /** Inflates bytes; gives how many it took, which are not all of them where the last member has ended before a zero. */
  async write(chunk: Uint8Array): Promise<number> {
    const before = this.#gunzip.bytesWritten;
    const written = new Promise<void>((resolve) => {
      this.#gunzip.write(chunk, () => resolve());
    });
    await Promise.race([written, this.#failed]);
    return this.#gunzip.bytesWritten - before;
  }

  /** Fails if the last member is not complete. */
  async end(): Promise<void> {
    const ended = once(this.#gunzip, 'end');
    this.#gunzip.end();
    await Promise.race([ended, this.#failed]);
  }

  /** What has been inflated since the last call. */
  inflated(): Buffer[] {
    // What the stream still holds it gives to the listener now.
    while (this.#gunzip.read() !== null);
    const chunks = this.#chunks;
    this.#chunks = [];
    return chunks;
  }

  destroy(): void {
    this.#gunzip.destroy();
  }
}

function zeros(bytes: Uint8Array): number {
  const first = bytes.findIndex((byte) => byte !== 0);
  return first === -1 ? bytes.byteLength : first;
}

function broken(name: string) {
  return clientError('INVALID_RECORD', `${name}: the content is not gzip, or incomplete`);
}
