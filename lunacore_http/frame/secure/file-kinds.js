/**
 * What a file is, by its first bytes. Neither its name nor the type that came with it counts.
 */

/** @typedef {{kind: "image" | "pdf" | "text", type: string}} Kind */

/** What no text holds but tab, line ends, form feed and escape. */
const BINARY = /[\0-\x08\x0b\x0e-\x1a\x1c-\x1f]/;
/** A PDF may have something before its head. */
const PDF_WITHIN = 1024;
const HEAD_BYTES = 4096;

/**
 * @param {Blob} value
 * @returns {Promise<Kind | null>} null if it cannot be shown
 */
export async function kindOf(value) {
  const head = new Uint8Array(await value.slice(0, HEAD_BYTES).arrayBuffer());
  const type = imageType(latin1(head));
  if (type !== null) return { kind: "image", type };
  if (latin1(head.subarray(0, PDF_WITHIN)).includes("%PDF-")) return { kind: "pdf", type: "application/pdf" };
  return isText(head, value.size) ? { kind: "text", type: "text/plain" } : null;
}

/**
 * The images that are pictures and nothing else; SVG, a document that can hold scripts, is a text.
 *
 * @param {string} head
 * @returns {string | null}
 */
function imageType(head) {
  if (head.startsWith("\x89PNG\r\n\x1a\n")) return "image/png";
  if (head.startsWith("\xff\xd8\xff")) return "image/jpeg";
  if (/^GIF8[79]a/.test(head)) return "image/gif";
  if (/^RIFF.{4}WEBP/s.test(head)) return "image/webp";
  if (/^.{4}ftyp(avif|avis)/s.test(head) || /^.{4}ftyp(mif1|msf1|miaf).{0,64}avi[fs]/s.test(head)) return "image/avif";
  return null;
}

/**
 * @param {Uint8Array<ArrayBuffer>} head
 * @param {number} size of the whole
 */
function isText(head, size) {
  try {
    // A character may be cut in two where the head ends.
    return !BINARY.test(new TextDecoder("utf-8", { fatal: true }).decode(head, { stream: head.length < size }));
  } catch {
    return false;
  }
}

/** @param {Uint8Array} octets */
function latin1(octets) {
  let text = "";
  for (const one of octets) text += String.fromCharCode(one);
  return text;
}
