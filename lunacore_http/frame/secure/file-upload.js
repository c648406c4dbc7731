/**
 * A file to the object store: sealed, and sent by XMLHttpRequest, since `fetch` tells nothing of how far it got.
 */

import { headersOf } from "./calls.js";
import { sealFile } from "./file-segments.js";
import { Refused } from "./refused.js";

/** @typedef {import("./file-jobs.js").UploadTicket} Ticket */

/** How long nothing may move. */
const IDLE_MS = 60_000;
/** Of the work, sealing is the lesser part. */
const SEALING = 0.2;

/**
 * @param {Ticket} ticket
 * @param {File} file
 * @param {AbortSignal} signal
 * @param {(part: number) => void} progressed is told how much is done, of 1
 */
export async function sendFile(ticket, file, signal, progressed) {
  const sealed = await sealFile(ticket.key, file, { signal, progressed: (part) => progressed(part * SEALING) });
  await put(ticket, sealed, signal, (part) => progressed(SEALING + part * (1 - SEALING)));
}

/**
 * @param {Ticket} ticket
 * @param {Blob} sealed
 * @param {AbortSignal} signal
 * @param {(part: number) => void} progressed
 * @returns {Promise<void>}
 */
function put(ticket, sealed, signal, progressed) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const request = new XMLHttpRequest();
    let timer = 0;
    const idle = () => {
      clearTimeout(timer);
      timer = setTimeout(() => end("timeout"), IDLE_MS);
    };
    const aborted = () => end("aborted");
    /** @param {string | null} name */
    const end = (name) => {
      clearTimeout(timer);
      signal.removeEventListener("abort", aborted);
      request.onload = request.onerror = request.onabort = null;
      if (name === null) return resolve();
      request.abort();
      reject(new Refused(name));
    };
    request.upload.onprogress = (event) => {
      idle();
      progressed(event.loaded / Math.max(1, event.total));
    };
    request.onload = () => end(request.status >= 200 && request.status < 300 ? null : "storeUnavailable");
    request.onerror = () => end(navigator.onLine ? "storeUnavailable" : "network");
    signal.addEventListener("abort", aborted);
    request.open("PUT", ticket.url);
    for (const [name, value] of Object.entries(headersOf(ticket))) request.setRequestHeader(name, value);
    idle();
    request.send(sealed);
  });
}
