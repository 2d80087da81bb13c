import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { inspect } from 'node:util';
import vm from 'node:vm';
import type { Bulk } from '../src/index.js';
import { encodeRecord } from '../src/json.js';
import { bodyOf } from './service.js';
import { services } from './services.js';

class Person {
  name = 'Jane';
  #secret = 'Jane';
  get secret() {
    return this.#secret;
  }
}
class Hidden {
  #secret = 'Jane';
  tell() {
    return this.#secret;
  }
}
class Heir extends Person {
  own = 1;
}
/** As some drivers of databases make them. */
class Row {
  constructor(
    readonly id: string,
    readonly lastName: string,
  ) {}
  toText() {
    return this.id;
  }
}
function OldRow(this: Record<string, unknown>) {
  this.id = 'p-2';
}
OldRow.prototype.toText = () => 'p-2';
const circular: Record<string, unknown> = { name: 'Jane' };
circular.self = { circular };
const LOST = 'of which JSON would lose data; expected a plain object, an array, a Date or an object with toJSON';

/** What JSON changes or leaves out in silence: the value, and what is told of it. */
const ALTERED: Record<string, [value: unknown, told: string]> = {
  NaN: [Number.NaN, 'not a finite number, which JSON would turn into null'],
  Infinity: [Number.POSITIVE_INFINITY, 'not a finite number, which JSON would turn into null'],
  '-Infinity': [Number.NEGATIVE_INFINITY, 'not a finite number, which JSON would turn into null'],
  'an invalid Date': [new Date('Jane'), 'an invalid Date, which JSON would turn into null'],
  'an invalid Date of another realm': [
    vm.runInNewContext("new Date('Jane')"),
    'an invalid Date, which JSON would turn into null',
  ],
  'a function': [() => 'Jane', 'a function, which JSON would leave out'],
  'a class': [Person, 'a function, which JSON would leave out'],
  'a symbol': [Symbol('Jane'), 'a symbol, which JSON would leave out'],
  'a BigInt': [7n, 'a BigInt, which JSON cannot hold; use a number or text'],
  'a Map': [new Map([['Jane', 1]]), `an instance of Map, ${LOST}`],
  'a Map of another realm': [vm.runInNewContext("new Map([['Jane', 1]])"), `an instance of Map, ${LOST}`],
  'a Set': [new Set(['Jane']), `an instance of Set, ${LOST}`],
  'a WeakMap': [new WeakMap(), `an instance of WeakMap, ${LOST}`],
  'a WeakSet': [new WeakSet(), `an instance of WeakSet, ${LOST}`],
  'a RegExp': [/Jane/, `an instance of RegExp, ${LOST}`],
  'an Error': [new Error('Jane'), `an instance of Error, ${LOST}`],
  'a Promise': [Promise.resolve('Jane'), `an instance of Promise, ${LOST}`],
  'a boxed string': [new String('Jane'), `an instance of String, ${LOST}`],
  'a boxed number': [new Number(7), `an instance of Number, ${LOST}`],
  'an instance of a class with getters': [new Person(), `an instance of Person, ${LOST}`],
  'an instance of a class that inherits getters': [new Heir(), `an instance of Heir, ${LOST}`],
  'an instance that keeps all for itself': [new Hidden(), `an instance of Hidden, ${LOST}`],
  'an error with members': [Object.assign(new Error('Jane'), { a: 1 }), `an instance of Error, ${LOST}`],
  'what inherits its data': [
    Object.assign(Object.create({ name: 'Jane' }), { a: 1 }),
    `an instance of Object, ${LOST}`,
  ],
  'an instance whose class has a name that is none': [
    Object.create({ constructor: { name: 'Jane Doe' } }),
    `an instance, ${LOST}`,
  ],
  'a Uint8Array': [Uint8Array.of(74), 'bytes, which JSON would turn into an object; use base64 text'],
  'a Buffer': [Buffer.from('Jane'), 'bytes, which JSON would turn into an object; use base64 text'],
  'a Float64Array': [Float64Array.of(7), 'bytes, which JSON would turn into an object; use base64 text'],
  'a DataView': [new DataView(new ArrayBuffer(1)), 'bytes, which JSON would turn into an object; use base64 text'],
  'an ArrayBuffer': [new ArrayBuffer(1), 'bytes, which JSON would turn into an object; use base64 text'],
  'a SharedArrayBuffer': [new SharedArrayBuffer(1), 'bytes, which JSON would turn into an object; use base64 text'],
  'a toJSON that gives it': [{ toJSON: () => Number.NaN }, 'not a finite number, which JSON would turn into null'],
};
/** What JSON writes as it is meant. */
const KEPT = {
  text: 'Müller 🩺 \u2028 " \\ \n \ud83d',
  numbers: [0, -1, 1.5, 1e21, 1e-7, 5e-324, Number.MAX_SAFE_INTEGER],
  others: [true, false, null, [], {}],
  absent: undefined,
  date: new Date('2026-01-15T09:15:00+02:00'),
  url: new URL('https://example.com/a'),
  own: { toJSON: (key: string) => ({ key }) },
  gone: { toJSON: () => undefined },
  rows: [new Row('p-1', 'Doe'), new Row('p-2', 'Roe'), new (OldRow as never as new () => object)()],
  bare: Object.assign(Object.create(null), { a: 1 }),
  foreign: vm.runInNewContext('({ a: [1, { b: "c" }] })'),
  'a name, with "quotes"': 1,
  deep: [[[{}]]],
};

describe('values', () => {
  const start = services();
  const ways: Record<string, (bulk: Bulk, records: object[]) => Promise<unknown>> = {
    import: (bulk, data) => bulk.import({ resourceType: 'Patient', data }),
    validate: (bulk, data) => bulk.validate({ resourceType: 'Patient', data }),
    importAll: async (bulk, records) => {
      for await (const _ of bulk.importAll({ resourceType: 'Patient', records }));
    },
  };

  for (const [way, send] of Object.entries(ways)) {
    test(`that JSON would alter in silence are refused by ${way}, by record and path, and not shown`, async () => {
      const service = await start();
      for (const [name, [value, told]] of Object.entries(ALTERED)) {
        const record = { lastName: 'Doe', contact: [{}, { 'first name': { value } }] };
        await assert.rejects(
          send(service.client().bulk, [{ lastName: 'Doe' }, record]),
          (error: Error) => {
            assert.equal(error.name, 'TypeError');
            assert.equal(error.message, `record 2: contact[1]["first name"].value: ${told}`, name);
            assert.doesNotMatch(inspect(error, { depth: 9 }), /Jane|Doe/);
            return true;
          },
          name,
        );
      }
      assert.equal(service.api.requests.length, 0);
    });
  }

  test('that are absent may be members, and not items of an array', () => {
    assert.equal(encodeRecord({ a: undefined, b: 1 }, 1), '{"b":1}');
    const message = 'record 7: a[1]: undefined or a hole in an array, which JSON would turn into null';
    const holed = [1];
    holed[2] = 2;
    for (const a of [[1, undefined], holed, [1, { toJSON: () => undefined }]]) {
      assert.throws(() => encodeRecord({ a }, 7), { name: 'TypeError', message });
    }
  });

  test('that hold themselves are refused, and those that come twice are not', () => {
    const message = 'record 1: self.circular: an object that holds itself, which JSON cannot hold';
    assert.throws(() => encodeRecord(circular, 1), { name: 'TypeError', message });
    const list: unknown[] = [];
    list.push(list);
    assert.throws(() => encodeRecord({ list }, 1), /record 1: list\[0\]: an object that holds itself/);
    const shared = { a: 1 };
    assert.equal(encodeRecord({ b: shared, c: [shared, shared] }, 1), '{"b":{"a":1},"c":[{"a":1},{"a":1}]}');
  });

  test('that JSON keeps are written as JSON writes them', async () => {
    assert.equal(encodeRecord(KEPT, 1), JSON.stringify(KEPT));
    const service = await start();
    await service.client().bulk.import({ resourceType: 'Patient', data: [KEPT] });
    assert.equal(JSON.parse(bodyOf(service.api.requests[0])).data, JSON.stringify(KEPT));
    assert.match(encodeRecord(KEPT, 1), /"date":"2026-01-15T07:15:00.000Z"/);
  });

  test('are read once: what was checked is what is sent', () => {
    let reads = 0;
    const record = {
      get value() {
        return ++reads === 1 ? 1 : Number.NaN;
      },
      own: { toJSON: () => (++reads === 2 ? 2 : Number.NaN) },
    };
    assert.equal(encodeRecord(record, 1), '{"value":1,"own":2}');
  });

  test('whose own code fails are told by their place alone', () => {
    const fail = () => {
      throw new TypeError('Jane');
    };
    const told = (record: object) => {
      try {
        return encodeRecord(record, 3);
      } catch (error) {
        assert.doesNotMatch(inspect(error), /Jane/);
        return (error as Error).message;
      }
    };
    assert.equal(told({ a: { toJSON: fail } }), 'record 3: a: cannot be written as JSON');
    assert.equal(
      told(Object.defineProperty({}, 'b', { enumerable: true, get: fail })),
      'record 3: b: cannot be written as JSON',
    );
    assert.equal(told({ toJSON: fail }), 'record 3: cannot be written as JSON');
  });

  test('that are nested without end are refused by a message that has one', () => {
    const record: { a?: object } = {};
    let inner = record;
    for (let depth = 0; depth < 100_000; depth++) {
      inner.a = {};
      inner = inner.a;
    }
    assert.throws(
      () => encodeRecord(record, 1),
      ({ name, message }: Error) => name === 'TypeError' && message.length < 1_000 && /^record 1: a\.a\./.test(message),
    );
  });

  test('that are no records are refused', () => {
    for (const record of ['Jane', 7, true, null, undefined, ['Jane'], new Date(0), { toJSON: () => 'Jane' }]) {
      assert.throws(() => encodeRecord(record, 1), { name: 'TypeError', message: 'record 1: expected an object' });
    }
    assert.throws(() => encodeRecord(new Map([['Jane', 1]]), 1), { message: `record 1: an instance of Map, ${LOST}` });
    assert.throws(() => encodeRecord(new Person(), 1), { message: `record 1: an instance of Person, ${LOST}` });
  });
});
