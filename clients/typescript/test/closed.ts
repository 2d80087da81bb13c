import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Service } from './service.js';

/** No listener, no connection to the store, and no request any more. */
export async function assertClosed(service: Service, signal: AbortSignal): Promise<void> {
  assert.equal(getEventListeners(signal, 'abort').length, 0, 'listeners');
  const requests = service.api.requests.length + service.store.requests.length;
  // Longer than the first pause before a new connection.
  await sleep(900);
  assert.equal(service.api.requests.length + service.store.requests.length, requests, 'requests');
  assert.deepEqual([service.api.busy, service.store.busy], [0, 0], 'connections');
  assert.equal(getEventListeners(signal, 'abort').length, 0, 'listeners');
}
