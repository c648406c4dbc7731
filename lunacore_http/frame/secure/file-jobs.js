/**
 * What the frames of files have the hub do, which alone has the session: get the tickets with which they go to the object store themselves.
 */

/** @typedef {import("./link.js").Link} Link */
/** @typedef {import("./vault.js").FileInfo} FileInfo */
/** @typedef {import("./vault.js").FileTicket} Ticket */
/** @typedef {Ticket & {key: Uint8Array<ArrayBuffer>}} UploadTicket */

/** Longer names are cut: what is kept of a file has room for 4096 bytes. */
const MAX_NAME = 255;
const MAX_TYPE = 127;
/** Half a character, which JSON has but UTF-8 has not. */
const HALF = /\p{Cs}/gu;

/**
 * A new token, and where its file goes.
 *
 * @param {Link} link
 * @param {File} file
 * @returns {Promise<UploadTicket>}
 */
export function uploadTicket(link, file) {
  const fileinfo = { filename: cut(file.name), type: file.type.slice(0, MAX_TYPE), lastModified: file.lastModified };
  return link.ask({ type: "upload-ticket", size: file.size, fileinfo });
}

/**
 * Where the file of a token lies.
 *
 * @param {Link} link
 * @param {string} token
 * @returns {Promise<Ticket>}
 */
export function downloadTicket(link, token) {
  return link.ask({ type: "download-ticket", token });
}

/**
 * What is known of a file beside its bytes. Whoever brought it may have written anything.
 *
 * @param {Link} link
 * @param {string} token
 * @returns {Promise<Partial<FileInfo>>}
 */
export function fileInfo(link, token) {
  return link.ask({ type: "file-info", token });
}

/**
 * A name as it was, cut in the middle if it is very long, so that its extension stays.
 *
 * @param {string} name
 */
function cut(name) {
  return (name.length <= MAX_NAME ? name : name.slice(0, MAX_NAME - 32) + name.slice(-32)).replace(HALF, "\ufffd");
}
