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
