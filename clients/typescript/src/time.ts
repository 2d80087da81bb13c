/** The longest delay that a timer takes, in milliseconds (24.8 days); a longer one would fire at once. */
export const MAX_DELAY = 2_147_483_647;

/** Milliseconds on a clock that nobody can set: waits and deadlines do not depend on the time of day. */
export function now(): number {
  return performance.now();
}

/** Waits, unless the signal is or gets aborted: then it rejects with the signal's reason. */
export function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(
      () => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      },
      Math.min(milliseconds, MAX_DELAY),
    );
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/**
 * Runs an operation that has to end within a time and stops when the signal is aborted.
 *
 * The operation is abandoned even if it ignores the signal it is given.
 * @param onTimeout makes the error of a time-out
 */
export async function within<T>(
  milliseconds: number,
  signal: AbortSignal | undefined,
  onTimeout: () => Error,
  operation: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const controller = new AbortController();
  const onAbort = () => controller.abort(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  const timer = setTimeout(() => controller.abort(onTimeout()), Math.min(milliseconds, MAX_DELAY));
  const aborted = new Promise<never>((_, reject) => {
    controller.signal.addEventListener('abort', () => reject(controller.signal.reason), { once: true });
  });
  try {
    return await Promise.race([operation(controller.signal), aborted]);
  } catch (error) {
    throw controller.signal.aborted ? controller.signal.reason : error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}

/** Waits for an operation that knows nothing of the signal; once that is aborted, nobody waits for it any more. */
export async function unlessAborted<T>(
  signal: AbortSignal | undefined,
  operation: () => T | PromiseLike<T>,
): Promise<T> {
  if (signal === undefined) return operation();
  signal.throwIfAborted();
  let onAbort = () => {};
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([operation(), aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** The items of a source of somebody else's, which may stop to yield. It is closed when the signal is aborted. */
export async function* untilAborted<T>(
  signal: AbortSignal | undefined,
  items: Iterable<T> | AsyncIterable<T>,
): AsyncGenerator<Awaited<T>, void, undefined> {
  const iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  // What has ended by itself, or failed, needs no closing.
  let isOpen = true;
  const next = async () => {
    isOpen = false;
    const result = await iterator.next();
    isOpen = result.done !== true;
    return result;
  };
  const close = async () => void (await iterator.return?.());
  const leave = async () => {
    // The iterator of a stream of Node's that is stuck does not end; the stream does.
    if ('destroy' in items && typeof items.destroy === 'function') items.destroy();
    await close();
  };
  try {
    for (;;) {
      const { done, value } = await unlessAborted(signal, next);
      if (done === true) return;
      yield await unlessAborted(signal, () => value);
    }
  } finally {
    // A source that is stuck does not close either: it is told to, and not waited for.
    if (signal?.aborted) leave().catch(() => undefined);
    else if (isOpen) await close();
  }
}
