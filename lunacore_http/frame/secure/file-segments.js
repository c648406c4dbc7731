/**
 * The segment format (docs/spec/segments.md) for files: sealed and opened piece by piece, so that memory is bounded whatever their size.
 *
 * What comes out is gathered in Blobs, which browsers keep outside of the frame's process, large ones on disk. Nothing of a value is
 * handed out before its last segment has opened.
 */

import { Refused } from "./refused.js";
import { HEADER_BYTES, IntegrityError, SEALED_SEGMENT_BYTES, SEGMENT_BYTES, UnsupportedVersion, checkHeader, newHeader, openSegment, plainSize, sealSegment, segmentCount, segmentKey } from "./segments.js";

/** @typedef {Uint8Array<ArrayBuffer>} Octets */

/** How many segments are worked on at a time. */
const AT_ONCE = 16;

/**
 * Seal a file as a value.
 *
 * @param {Octets} key 32 random bytes
 * @param {Blob} file
 * @param {{signal?: AbortSignal, progressed?: (part: number) => void, random?: (size: number) => Octets}} [options] `progressed` is told how
 *   much is done, of 1
 * @returns {Promise<Blob>}
 * @throws {Refused} `fileChanged`: the file cannot be read, or is not what it was when it was chosen
 */
export async function sealFile(key, file, { signal, progressed, random } = {}) {
  const header = newHeader("value", random);
  const cipher = await segmentKey(key, header, "encrypt");
  const count = segmentCount(file.size);
  /** @type {Blob[]} */
  const parts = [new Blob([header])];
  for (let first = 0; first < count; first += AT_ONCE) {
    signal?.throwIfAborted();
    const plain = await read(file, first * SEGMENT_BYTES, (first + AT_ONCE) * SEGMENT_BYTES);
    const segments = inSteps(plain, SEGMENT_BYTES, Math.min(AT_ONCE, count - first));
    const sealed = segments.map((segment, place) => sealSegment(cipher, segment, first + place, first + place === count - 1));
    parts.push(new Blob(await Promise.all(sealed)));
    progressed?.(Math.min(1, (first + AT_ONCE) / count));
  }
  return new Blob(parts);
}

/**
 * A value that is opened while it arrives, and that can go on where it stopped.
 */
export class OpeningFile {
  #key;
  #size;
  /** What has arrived and is not opened yet: up to `#held` bytes. */
  #pending = new Uint8Array(AT_ONCE * SEALED_SEGMENT_BYTES);
  #held = 0;
  #opened = 0;
  #header = new Uint8Array(HEADER_BYTES);
  /** @type {CryptoKey | null} */
  #cipher = null;
  /** @type {Blob[]} */
  #parts = [];
  /** How many bytes have arrived. */
  received = 0;

  /**
   * @param {Octets} key 32 bytes
   * @param {number} size bytes of the sealed value
   */
  constructor(key, size) {
    this.#key = key;
    this.#size = size;
  }

  /** Whether all has arrived and was opened. */
  get whole() {
    return this.received === this.#size && this.#cipher !== null;
  }

  /**
   * Take the next bytes.
   *
   * @param {Uint8Array} arrived
   * @throws {Refused} `damaged`, `unsupportedVersion`; then there is no going on
   */
  async take(arrived) {
    try {
      if (this.received + arrived.length > this.#size) throw new IntegrityError("something follows the last segment");
      await this.#take(arrived);
    } catch (error) {
      throw new Refused(error instanceof UnsupportedVersion ? "unsupportedVersion" : "damaged");
    }
  }

  /** The value, once it is whole. */
  value() {
    if (!this.whole) throw new Refused("damaged");
    return new Blob(this.#parts);
  }

  /** @param {Uint8Array} arrived */
  async #take(arrived) {
    let rest = arrived;
    if (this.received < HEADER_BYTES) {
      const part = rest.subarray(0, HEADER_BYTES - this.received);
      this.#header.set(part, this.received);
      this.received += part.length;
      rest = rest.subarray(part.length);
      if (this.received === HEADER_BYTES) await this.#begin();
      else if (this.received === this.#size) throw new IntegrityError("there is no whole header");
    }
    while (rest.length > 0) {
      const part = rest.subarray(0, this.#pending.length - this.#held);
      this.#pending.set(part, this.#held);
      this.#held += part.length;
      this.received += part.length;
      rest = rest.subarray(part.length);
      if (this.#held === this.#pending.length || this.received === this.#size) await this.#open();
    }
  }

  async #begin() {
    checkHeader(this.#header, "value");
    plainSize(this.#size);
    this.#cipher = await segmentKey(this.#key, this.#header, "decrypt");
  }

  async #open() {
    const cipher = /** @type {CryptoKey} */ (this.#cipher);
    const last = segmentCount(plainSize(this.#size)) - 1;
    const sealed = inSteps(this.#pending.subarray(0, this.#held), SEALED_SEGMENT_BYTES, Math.ceil(this.#held / SEALED_SEGMENT_BYTES));
    const opened = sealed.map((segment, place) => openSegment(cipher, segment, this.#opened + place, this.#opened + place === last));
    this.#parts.push(new Blob(await Promise.all(opened)));
    this.#opened += sealed.length;
    this.#held = 0;
  }
}

/** A value that lies in the object store as it is. It arrives as a sealed one does, and nothing shows whether it is whole but its size. */
export class PlainFile {
  #size;
  /** @type {Blob[]} */
  #parts = [];
  /** How many bytes have arrived. */
  received = 0;

  /** @param {number} size bytes */
  constructor(size) {
    this.#size = size;
  }

  get whole() {
    return this.received === this.#size;
  }

  /** @param {Uint8Array<ArrayBuffer>} arrived */
  async take(arrived) {
    if (this.received + arrived.length > this.#size) throw new Refused("damaged");
    this.received += arrived.length;
    this.#parts.push(new Blob([arrived]));
  }

  value() {
    if (!this.whole) throw new Refused("damaged");
    return new Blob(this.#parts);
  }
}

/**
 * @param {Blob} file
 * @param {number} start
 * @param {number} end
 * @returns {Promise<Octets>}
 */
async function read(file, start, end) {
  const expected = Math.min(end, file.size) - start;
  const buffer = await file.slice(start, end).arrayBuffer().catch(() => null);
  if (buffer?.byteLength !== expected) throw new Refused("fileChanged");
  return new Uint8Array(buffer);
}

/**
 * @param {Octets} whole
 * @param {number} step bytes
 * @param {number} count of the steps
 */
function inSteps(whole, step, count) {
  return Array.from({ length: count }, (_, place) => whole.subarray(place * step, (place + 1) * step));
}
