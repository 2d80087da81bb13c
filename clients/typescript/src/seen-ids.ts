import { createHash } from 'node:crypto';

/** Where a table begins, in places; a power of two, as all of its sizes. */
const FIRST_SIZE = 1_024;
/** 32-bit words of a hash. */
const WORDS = 4;

/**
 * Which ids were given, and by which record first. It holds 16 bytes of SHA-256 of each id and the number of its record,
 * outside of the heap: a `Map` ends at 16.7 million entries, and takes three times as much.
 *
 * The hashes stand for the ids: that any two of a billion ids have the same 128 bits has a probability below 10^-20,
 * which is less than that of a fault of the machine's memory.
 */
export class SeenIds {
  #hashes = new Uint32Array(FIRST_SIZE * WORDS);
  /** The number of the record, from 1; 0 is a free place. */
  #numbers = new Float64Array(FIRST_SIZE);
  #count = 0;

  /** How many there are. */
  get size(): number {
    return this.#count;
  }

  /** How much memory they take. */
  get bytes(): number {
    return this.#hashes.byteLength + this.#numbers.byteLength;
  }

  /** Takes the id of a record in; gives the number of the record that had it before, if one had. */
  add(id: string, number: number): number | undefined {
    const digest = createHash('sha256').update(id).digest();
    const hash = new Uint32Array(WORDS);
    for (let word = 0; word < WORDS; word++) hash[word] = digest.readUInt32LE(4 * word);
    const place = this.#placeOf(hash);
    const first = this.#numbers[place];
    if (first) return first;
    this.#hashes.set(hash, place * WORDS);
    this.#numbers[place] = number;
    this.#count++;
    if (this.#count > this.#numbers.length * 0.7) this.#grow();
    return undefined;
  }

  /** Where a hash is, or the free place that it takes. */
  #placeOf(hash: Uint32Array): number {
    const last = this.#numbers.length - 1;
    // A hash is even by itself: its first word says where to begin.
    let place = (hash[0] ?? 0) & last;
    while (this.#numbers[place] !== 0 && !this.#isAt(place, hash)) place = (place + 1) & last;
    return place;
  }

  #isAt(place: number, hash: Uint32Array): boolean {
    const start = place * WORDS;
    return hash.every((word, index) => this.#hashes[start + index] === word);
  }

  #grow(): void {
    const [hashes, numbers] = [this.#hashes, this.#numbers];
    this.#hashes = new Uint32Array(2 * hashes.length);
    this.#numbers = new Float64Array(2 * numbers.length);
    for (let old = 0; old < numbers.length; old++) {
      if (numbers[old] === 0) continue;
      const hash = hashes.subarray(old * WORDS, (old + 1) * WORDS);
      const place = this.#placeOf(hash);
      this.#hashes.set(hash, place * WORDS);
      this.#numbers[place] = numbers[old] ?? 0;
    }
  }
}
