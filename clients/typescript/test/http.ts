import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A request as a server got it. */
export interface Recorded {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
  /** Milliseconds, to measure waits. */
  readonly at: number;
}

/** What a server does with a request. */
export interface Reply {
  readonly status?: number;
  readonly headers?: Record<string, string>;
  /** Sent as JSON. */
  readonly json?: unknown;
  readonly body?: string | Uint8Array;
  /** Breaks the connection after so many bytes of the body. */
  readonly cutAfter?: number;
  /** Sends so many bytes of the body, and then nothing more. */
  readonly stallAfter?: number;
  /** Never answers. */
  readonly hang?: boolean;
  /** Breaks the connection without an answer. */
  readonly refuse?: boolean;
}

export type Handler = (request: Recorded) => Reply | undefined;

/** A server on 127.0.0.1 that records requests, and that a test can make behave badly. */
export class TestServer {
  readonly requests: Recorded[] = [];
  origin = '';
  /** Requests whose connection is still in use. Node's fetch keeps an idle one for the next request. */
  busy = 0;
  /** Sees every request, and decides what happens: `act` does what the server would do, and gives its reply. */
  intercept: ((request: Recorded, act: () => Reply) => Reply) | undefined;
  readonly #faults: { match: string; handler: Handler }[] = [];
  readonly #server: Server;
  readonly #handler: Handler;

  private constructor(handler: Handler) {
    this.#handler = handler;
    // On a busy machine a connection that is idle for some seconds would be closed just when it is used again.
    const options = { keepAliveTimeout: 60_000 };
    this.#server = createServer(options, (request, response) => void this.#serve(request, response));
  }

  /** @param port a free one unless given */
  static async start(handler: Handler, port = 0): Promise<TestServer> {
    const server = new TestServer(handler);
    await new Promise<void>((resolve) => server.#server.listen(port, '127.0.0.1', resolve));
    server.origin = `http://127.0.0.1:${(server.#server.address() as AddressInfo).port}`;
    return server;
  }

  /** The next requests of this method, whose path ends so, get these replies, one each. */
  next(match: string, ...replies: (Reply | Handler)[]): void {
    for (const reply of replies) {
      this.#faults.push({ match, handler: typeof reply === 'function' ? reply : () => reply });
    }
  }

  /** The next request of this method, whose path ends so, is done, and its answer replaced. */
  lose(match: string, reply: Reply): void {
    this.next(match, (request) => {
      this.#handler(request);
      return reply;
    });
  }

  /** The requests of this method, whose path ends so. */
  received(match: string): Recorded[] {
    return this.requests.filter((request) => matches(request, match));
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    this.busy++;
    response.once('close', () => this.busy--);
    try {
      for await (const chunk of request) chunks.push(chunk);
    } catch {
      return; // The client has gone.
    }
    const url = new URL(request.url ?? '/', this.origin);
    const recorded: Recorded = {
      method: request.method ?? '',
      path: url.pathname,
      query: url.searchParams,
      headers: request.headers,
      body: Buffer.concat(chunks),
      at: performance.now(),
    };
    this.requests.push(recorded);
    const act = () => this.#act(recorded);
    send(response, this.intercept === undefined ? act() : this.intercept(recorded, act));
  }

  #act(request: Recorded): Reply {
    const fault = this.#faults.findIndex(({ match }) => matches(request, match));
    const [found] = fault === -1 ? [] : this.#faults.splice(fault, 1);
    return found?.handler(request) ?? this.#handler(request) ?? { status: 404, json: notFound };
  }
}

function matches({ method, path }: Recorded, match: string): boolean {
  const [wanted = '', end = ''] = match.split(' ');
  return method === wanted && path.endsWith(end);
}

const notFound = { error: 'Not Found', message: 'Not found', code: 'NOT_FOUND', requestId: 'req_0' };

function send(response: ServerResponse, reply: Reply): void {
  if (reply.hang) return;
  if (reply.refuse) {
    response.destroy();
    return;
  }
  const body = Buffer.from(reply.json === undefined ? (reply.body ?? '') : JSON.stringify(reply.json));
  const type = reply.json === undefined ? 'application/octet-stream' : 'application/json';
  const status = reply.status ?? 200;
  const length: Record<string, string> = status === 204 ? {} : { 'content-length': String(body.byteLength) };
  response.writeHead(status, { 'content-type': type, ...length, ...reply.headers });
  const partial = reply.cutAfter ?? reply.stallAfter;
  if (partial === undefined) {
    response.end(body);
    return;
  }
  response.write(body.subarray(0, partial), () => {
    // Later, so that what has been sent arrives.
    if (reply.cutAfter !== undefined) setTimeout(() => response.destroy(), 20);
  });
}
