import { type Bulk, createBulk } from './bulk.js';
import { type ClinikOptions, resolveApiKey, resolveBaseUrl, resolveOptions } from './options.js';
import { Transport } from './transport.js';

/**
 * The client of ClinikAPI. For servers only: the key must never reach a browser.
 *
 * ```ts
 * const clinik = new Clinik(); // with the key in CLINIKAPI_SECRET_KEY
 * ```
 */
export class Clinik {
  /** Bulk import and export of clinical records. */
  readonly bulk: Bulk;

  /**
   * @param apiKey your secret key, `clk_live_…` or `clk_test_…`. Default: the environment variable
   * `CLINIKAPI_SECRET_KEY`
   * @throws TypeError for a missing or empty key, or a base URL that is none
   * @throws RangeError for a `timeout` or `retries` out of range
   */
  constructor(apiKey?: string, options: ClinikOptions = {}) {
    const key = resolveApiKey(apiKey);
    const { timeout, retries } = resolveOptions(
      {
        ...(options.timeout !== undefined && { timeout: options.timeout }),
        ...(options.retries !== undefined && { retries: options.retries }),
      },
      { timeout: 30_000, retries: 2 },
    );
    // Looked up at every call, so that a global fetch that is replaced later, as by a test, is used.
    const fetch = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
    // Only the functions of `bulk` know the transport and, in it, the key: nothing shows them when a client is printed.
    this.bulk = createBulk(new Transport(fetch, resolveBaseUrl(options.baseUrl), key, { timeout, retries }));
  }
}
