/**
 * The segment format, version 1 (docs/spec/segments.md): values sealed in authenticated segments, as Python seals them.
 *
 * HKDF-SHA256 (RFC 5869) and AES-256-GCM (NIST SP 800-38D) are the browser's own (W3C Web Cryptography API).
 */

/** @typedef {"value" | "object"} Purpose */

export const SEGMENT_BYTES = 65536;
const TAG_BYTES = 16;
export const SEALED_SEGMENT_BYTES = SEGMENT_BYTES + TAG_BYTES;
export const HEADER_BYTES = 40;
const PREFIX_BYTES = 8;
const SALT_BYTES = 32;
const KEY_BYTES = 32;
const MAX_SEGMENTS = 2 ** 32;

const MAGIC = [0x4c, 0x43, 0x53, 0x47];
const FORMAT_VERSION = 1;
const SUITE = 1;
const SEGMENT_SIZE_LOG2 = 16;
/** @type {Readonly<Record<Purpose, number>>} */
const PURPOSES = { value: 1, object: 2 };

const INFO_LABEL = new TextEncoder().encode("lunacore/v1/segments");

/** What was sealed is not whole and unchanged, or is of another key or purpose. */
export class IntegrityError extends Error {
  /** @override */
  name = "IntegrityError";
}

/** A later release sealed it in a form that this one does not know. */
export class UnsupportedVersion extends Error {
  /** @override */
  name = "UnsupportedVersion";
}

/**
 * Seal a whole value.
 *
 * @param {Uint8Array<ArrayBuffer>} key 32 random bytes
 * @param {Uint8Array<ArrayBuffer>} plain
 * @param {Purpose} purpose
 * @param {(size: number) => Uint8Array<ArrayBuffer>} [random] a cryptographically secure source
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function seal(key, plain, purpose, random = randomBytes) {
  const count = segmentCount(plain.length);
  if (count > MAX_SEGMENTS) throw new RangeError("a sealed value holds at most 256 TiB");
  const sealed = new Uint8Array(HEADER_BYTES + plain.length + count * TAG_BYTES);
  const header = newHeader(purpose, random);
  sealed.set(header);
  const cipher = await segmentKey(key, header, "encrypt");
  for (let index = 0; index < count; index++) {
    const segment = plain.subarray(index * SEGMENT_BYTES, (index + 1) * SEGMENT_BYTES);
    const closed = await sealSegment(cipher, segment, index, index === count - 1);
    sealed.set(new Uint8Array(closed), HEADER_BYTES + index * SEALED_SEGMENT_BYTES);
  }
  return sealed;
}

/**
 * Undo `seal`. Nothing is released before everything has opened.
 *
 * @param {Uint8Array<ArrayBuffer>} key 32 bytes
 * @param {Uint8Array<ArrayBuffer>} sealed
 * @param {Purpose} purpose
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 * @throws {IntegrityError}
 * @throws {UnsupportedVersion}
 */
export async function open(key, sealed, purpose) {
  const header = sealed.subarray(0, HEADER_BYTES);
  checkHeader(header, purpose);
  const plain = new Uint8Array(plainSize(sealed.length));
  const count = segmentCount(plain.length);
  const cipher = await segmentKey(key, header, "decrypt");
  for (let index = 0; index < count; index++) {
    const start = HEADER_BYTES + index * SEALED_SEGMENT_BYTES;
    const segment = sealed.subarray(start, start + SEALED_SEGMENT_BYTES);
    plain.set(await openSegment(cipher, segment, index, index === count - 1), index * SEGMENT_BYTES);
  }
  return plain;
}

/**
 * @param {Purpose} purpose
 * @param {(size: number) => Uint8Array<ArrayBuffer>} [random] a cryptographically secure source
 */
export function newHeader(purpose, random = randomBytes) {
  const header = new Uint8Array(HEADER_BYTES);
  header.set([...MAGIC, FORMAT_VERSION, SUITE, SEGMENT_SIZE_LOG2, PURPOSES[purpose]]);
  header.set(random(SALT_BYTES), PREFIX_BYTES);
  return header;
}

/**
 * @param {CryptoKey} cipher
 * @param {BufferSource} segment
 * @param {number} index
 * @param {boolean} final
 */
export function sealSegment(cipher, segment, index, final) {
  return crypto.subtle.encrypt(algorithm(index, final), cipher, segment);
}

/**
 * @param {CryptoKey} cipher
 * @param {Uint8Array<ArrayBuffer>} segment
 * @param {number} index
 * @param {boolean} final
 * @throws {IntegrityError}
 */
export async function openSegment(cipher, segment, index, final) {
  try {
    return new Uint8Array(await crypto.subtle.decrypt(algorithm(index, final), cipher, segment));
  } catch {
    throw new IntegrityError(`segment ${index} does not open`);
  }
}

/**
 * @param {Uint8Array<ArrayBuffer>} header
 * @param {Purpose} purpose
 */
export function checkHeader(header, purpose) {
  if (header.length < HEADER_BYTES) throw new IntegrityError("there is no whole header");
  if (MAGIC.some((octet, place) => header[place] !== octet)) throw new IntegrityError("this was not sealed in segments");
  if (header[4] !== FORMAT_VERSION) throw new UnsupportedVersion("the version is unknown");
  if (header[5] !== SUITE) throw new UnsupportedVersion("the suite is unknown");
  if (header[6] !== SEGMENT_SIZE_LOG2) throw new UnsupportedVersion("the segment size is unknown");
  if (header[7] !== PURPOSES[purpose]) throw new IntegrityError("this was sealed for another purpose");
}

/**
 * @param {number} sealed bytes
 * @returns {number} bytes of the value whose sealed form has that size
 */
export function plainSize(sealed) {
  const body = sealed - HEADER_BYTES;
  const plain = body - Math.ceil(body / SEALED_SEGMENT_BYTES) * TAG_BYTES;
  if (plain < 0 || HEADER_BYTES + plain + segmentCount(plain) * TAG_BYTES !== sealed) {
    throw new IntegrityError(`no sealed value has ${sealed} bytes`);
  }
  return plain;
}

/** @param {number} plain bytes */
export function segmentCount(plain) {
  return Math.max(1, Math.ceil(plain / SEGMENT_BYTES));
}

/**
 * @param {Uint8Array<ArrayBuffer>} key
 * @param {Uint8Array<ArrayBuffer>} header
 * @param {"encrypt" | "decrypt"} use
 */
export async function segmentKey(key, header, use) {
  if (key.length !== KEY_BYTES) throw new RangeError("a key has 32 bytes");
  const info = new Uint8Array(INFO_LABEL.length + 4 + PREFIX_BYTES);
  info.set(INFO_LABEL);
  new DataView(info.buffer).setUint32(INFO_LABEL.length, PREFIX_BYTES);
  info.set(header.subarray(0, PREFIX_BYTES), INFO_LABEL.length + 4);
  const material = await crypto.subtle.importKey("raw", key, "HKDF", false, ["deriveKey"]);
  const derivation = { name: "HKDF", hash: "SHA-256", salt: header.subarray(PREFIX_BYTES), info };
  return crypto.subtle.deriveKey(derivation, material, { name: "AES-GCM", length: 256 }, false, [use]);
}

/**
 * @param {number} index
 * @param {boolean} final
 */
function algorithm(index, final) {
  const iv = new Uint8Array(12);
  new DataView(iv.buffer).setUint32(7, index);
  iv[11] = final ? 1 : 0;
  return { name: "AES-GCM", iv, tagLength: TAG_BYTES * 8 };
}

/** @param {number} size */
function randomBytes(size) {
  return crypto.getRandomValues(new Uint8Array(size));
}
