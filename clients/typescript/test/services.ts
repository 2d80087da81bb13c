import { after } from 'node:test';
import { Service } from './service.js';

/** Starts services for the tests of a suite, and stops them all behind it. To be called in its `describe`. */
export function services(): () => Promise<Service> {
  const started: Service[] = [];
  after(() => Promise.all(started.map((service) => service.stop())));
  return async () => {
    const service = await Service.start();
    started.push(service);
    return service;
  };
}
