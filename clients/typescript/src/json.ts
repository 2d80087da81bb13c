import { types } from 'node:util';

/** How much of a path is told. The service takes 128 levels. */
const MAX_STEPS = 128;

/** Why a value cannot be sent. Names kinds of values, never a value. */
class Unwritable extends Error {}

/**
 * A record as its line, without the line end. What JSON would change or leave out in silence is refused: a clinical
 * record must not become another one on its way.
 *
 * @param number of the record, from 1, for errors
 */
export function encodeRecord(record: unknown, number: number): string {
  // A stream of bytes would become one record for each chunk.
  if (isBytes(record)) {
    throw new TypeError(`record ${number}: bytes, where objects are expected; for a file use fs.openAsBlob(path)`);
  }
  const writer = new Writer();
  try {
    const line = writer.write(record, '');
    if (line?.startsWith('{')) return line;
  } catch (error) {
    // Another error is thrown by code of the record's own, or by the engine, and may show parts of the record.
    const reason = error instanceof Unwritable ? error.message : 'cannot be written as JSON';
    throw new TypeError(`record ${number}: ${writer.place}${reason}`);
  }
  throw new TypeError(`record ${number}: expected an object`);
}

/**
 * Writes what `JSON.stringify` writes, where that loses nothing. Each member is read once, so that what was checked is
 * what is sent, whatever getters and `toJSON` give the next time.
 */
class Writer {
  /** Names of members and numbers of items: where it is. */
  readonly #path: (string | number)[] = [];
  /** The objects and arrays around it. */
  readonly #around: object[] = [];

  /** Where it is, as messages begin: `contact[0].email: `; empty for the record itself. */
  get place(): string {
    const steps = this.#path.slice(0, MAX_STEPS).map((step) => {
      if (typeof step === 'number') return `[${step}]`;
      return /^[A-Za-z_$][\w$]*$/.test(step) ? `.${step}` : `[${JSON.stringify(step)}]`;
    });
    const rest = this.#path.length > MAX_STEPS ? '…' : '';
    return steps.length === 0 ? '' : `${steps.join('').replace(/^\./, '')}${rest}: `;
  }

  /** The JSON of a value, or `undefined` for one that is absent. */
  write(given: unknown, key: string): string | undefined {
    const value = toWrite(given, key);
    switch (typeof value) {
      case 'string':
        return JSON.stringify(value);
      case 'number':
        if (!Number.isFinite(value)) throw new Unwritable('not a finite number, which JSON would turn into null');
        return String(value);
      case 'boolean':
        return String(value);
      case 'undefined':
        return undefined;
      case 'object':
        return value === null ? 'null' : this.#inside(value);
      case 'bigint':
        throw new Unwritable('a BigInt, which JSON cannot hold; use a number or text');
      default:
        throw new Unwritable(`a ${typeof value}, which JSON would leave out`);
    }
  }

  #inside(value: object): string {
    if (this.#around.includes(value)) throw new Unwritable('an object that holds itself, which JSON cannot hold');
    this.#around.push(value);
    const text = Array.isArray(value) ? this.#array(value) : this.#object(value);
    this.#around.pop();
    return text;
  }

  #array(items: readonly unknown[]): string {
    const texts: string[] = [];
    for (let index = 0; index < items.length; index++) {
      this.#path.push(index);
      const text = this.write(items[index], String(index));
      if (text === undefined) throw new Unwritable('undefined or a hole in an array, which JSON would turn into null');
      this.#path.pop();
      texts.push(text);
    }
    return `[${texts.join(',')}]`;
  }

  #object(members: object): string {
    if (hidesData(members)) {
      throw new Unwritable(
        `${nameOf(members)}, of which JSON would lose data; expected a plain object, an array, a Date or an object with toJSON`,
      );
    }
    const texts: string[] = [];
    for (const key of Object.keys(members)) {
      this.#path.push(key);
      const text = this.write((members as Record<string, unknown>)[key], key);
      this.#path.pop();
      if (text !== undefined) texts.push(`${JSON.stringify(key)}:${text}`);
    }
    return `{${texts.join(',')}}`;
  }
}

/** What a value says it is in JSON. */
function toWrite(value: unknown, key: string): unknown {
  if ((typeof value !== 'object' && typeof value !== 'bigint') || value === null) return value;
  // A Buffer has a toJSON, which gives numbers that no field takes.
  if (isBytes(value)) throw new Unwritable('bytes, which JSON would turn into an object; use base64 text');
  if (types.isDate(value) && Number.isNaN(value.getTime())) {
    throw new Unwritable('an invalid Date, which JSON would turn into null');
  }
  const { toJSON } = value as { toJSON?: unknown };
  return typeof toJSON === 'function' ? toJSON.call(value, key) : value;
}

function isBytes(value: unknown): boolean {
  return ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value);
}

/**
 * Whether an object has data that is no member of its own, and so is nothing to JSON: the entries of a Map, the message
 * of an Error, what a class keeps private or behind getters. A row of a database is often an instance of a class that has
 * neither.
 */
function hidesData(value: object): boolean {
  const prototype = Object.getPrototypeOf(value);
  if (isRoot(prototype)) return false;
  // What is built in has a name of its own there.
  if (Object.prototype.toString.call(value) !== '[object Object]') return true;
  return Object.keys(value).length === 0 || holdsData(prototype);
}

/** The end of what an object inherits, of whatever realm: object literals inherit from it, or from nothing. */
function isRoot(prototype: object | null): boolean {
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** Which prototypes hold data. Every record would ask again. */
const holders = new WeakMap<object, boolean>();

/** Whether a prototype, or one above it, has getters, or members that are no methods. */
function holdsData(prototype: object): boolean {
  if (isRoot(prototype)) return false;
  const known = holders.get(prototype);
  if (known !== undefined) return known;
  const own = Object.values(Object.getOwnPropertyDescriptors(prototype));
  const holds =
    own.some(({ get, enumerable, value }) => get !== undefined || (enumerable && typeof value !== 'function')) ||
    holdsData(Object.getPrototypeOf(prototype));
  holders.set(prototype, holds);
  return holds;
}

function nameOf(value: object): string {
  const name: unknown = value.constructor?.name;
  return typeof name === 'string' && /^[A-Za-z_$][\w$]{0,63}$/.test(name) ? `an instance of ${name}` : 'an instance';
}
