/**
 * The tokenizer's calls and the object store's tickets, as browsers make them (docs/reference/http.md).
 */

import { Refused, nameOf } from "./refused.js";

const TIMEOUT_MS = 30_000;
// A browser sets these by itself, and keeps scripts from setting them.
const BROWSERS_OWN = new Set(["host", "content-length"]);
const SESSION_HASH = /^[0-9a-f]{64}$/;

/** @typedef {{success: true, data: any} | {success: false, error: {name: string}}} Envelope */
/** @typedef {{headers: Record<string, string>, valueKey?: string, valueFormat?: string}} Ticket */

/**
 * Whether the browser has a session.
 *
 * @param {string | null} provider whose it must be; null for whichever there is
 * @returns {Promise<string | null>} its hash, or null if there is none
 */
export async function verifySession(provider) {
  const query = provider === null ? "" : `?${new URLSearchParams({ provider })}`;
  const envelope = await envelopeOf(await send(`/session/verify${query}`, {}));
  if (envelope.success) {
    if (!SESSION_HASH.test(envelope.data?.sessionHash)) throw new Refused("internalError");
    return envelope.data.sessionHash;
  }
  if (envelope.error.name === "unauthenticated") return null;
  throw new Refused(envelope.error.name);
}

/**
 * A call on many tokens.
 *
 * @param {"/tokenize" | "/detokenize" | "/metadata/get"} path
 * @param {object} body
 * @param {string} sessionHash
 * @param {number} count how many items were asked for
 * @returns {Promise<Envelope[]>} one for each item, in order
 */
export async function callForMany(path, body, sessionHash, count) {
  const response = await send(path, {
    method: "POST",
    headers: { "content-type": "application/json", "lunasec-session-hash": sessionHash },
    body: JSON.stringify(body),
  });
  const envelope = await envelopeOf(response);
  if (!envelope.success) throw new Refused(envelope.error.name);
  const items = envelope.data?.items;
  if (!Array.isArray(items) || items.length !== count) throw new Refused("internalError");
  return items;
}

/**
 * Put a value where its ticket says.
 *
 * @param {string} url
 * @param {Ticket} ticket
 * @param {Uint8Array<ArrayBuffer>} bytes
 */
export async function upload(url, ticket, bytes) {
  await sendToStore(url, { method: "PUT", headers: headersOf(ticket), body: bytes });
}

/**
 * Get the value that a ticket is for.
 *
 * @param {string} url
 * @param {Ticket} ticket
 * @param {number} limit bytes at most
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function download(url, ticket, limit) {
  const response = await sendToStore(url, { headers: headersOf(ticket) });
  if (Number(response.headers.get("content-length")) > limit) throw new Refused("tooLarge");
  const bytes = await response.arrayBuffer().catch(() => {
    throw new Refused("network");
  });
  if (bytes.byteLength > limit) throw new Refused("tooLarge");
  return new Uint8Array(bytes);
}

/**
 * @param {string} url
 * @param {RequestInit} init
 */
async function send(url, init) {
  try {
    return await fetch(url, {
      cache: "no-store",
      credentials: "same-origin",
      mode: "cors",
      redirect: "error",
      referrerPolicy: "no-referrer",
      signal: AbortSignal.timeout(TIMEOUT_MS),
      ...init,
    });
  } catch (error) {
    throw new Refused(error instanceof DOMException && error.name === "TimeoutError" ? "timeout" : "network");
  }
}

/**
 * To the object store, which may be out of reach while the tokenizer is not.
 *
 * @param {string} url
 * @param {RequestInit} init
 */
async function sendToStore(url, init) {
  const response = await send(url, { ...init, credentials: "omit" }).catch((error) => {
    throw nameOf(error) === "network" && navigator.onLine ? new Refused("storeUnavailable") : error;
  });
  if (!response.ok) throw new Refused("storeUnavailable");
  return response;
}

/**
 * @param {Response} response
 * @returns {Promise<Envelope>}
 */
async function envelopeOf(response) {
  /** @type {any} */
  let envelope;
  try {
    envelope = await response.json();
  } catch {
    throw new Refused(response.status >= 500 ? "storeUnavailable" : "network");
  }
  if (typeof envelope?.success !== "boolean") throw new Refused("internalError");
  return envelope.success ? envelope : { success: false, error: { name: String(envelope.error?.name) } };
}

/** @param {{headers: Record<string, string>}} ticket */
export function headersOf(ticket) {
  return Object.fromEntries(Object.entries(ticket.headers).filter(([name]) => !BROWSERS_OWN.has(name.toLowerCase())));
}
