/**
 * A file from the object store: opened while it arrives. What is interrupted goes on where it stopped, by a range of bytes.
 */

import { headersOf } from "./calls.js";
import { OpeningFile, PlainFile } from "./file-segments.js";
import { Refused } from "./refused.js";

/** @typedef {import("./file-jobs.js").Ticket} Ticket */

/** How long nothing may arrive. */
const IDLE_MS = 60_000;
/** How often one download goes on by itself, and how long it waits before: the connection may be on its way back. */
const PAUSES_MS = [500, 2_000, 5_000];
/** What may be over a moment later. */
const PASSING = new Set(["network", "timeout", "storeUnavailable"]);

/** One download; after a failure `run` goes on with what has arrived. */
export class FileDownload {
  #mint;
  #limit;
  /** @type {Ticket | null} */
  #ticket = null;
  #size = 0;
  /** @type {OpeningFile | PlainFile | null} */
  #opening = null;
  /** Whether something has arrived: what fails from then on may depend on the value. */
  begun = false;

  /**
   * @param {() => Promise<Ticket>} mint gets a ticket; a new one for every attempt, since the one before may have expired
   * @param {number} [limit] bytes at most
   */
  constructor(mint, limit = Number.MAX_SAFE_INTEGER) {
    this.#mint = mint;
    this.#limit = limit;
  }

  /**
   * @param {AbortSignal} signal
   * @param {(part: number) => void} progressed is told how much is done, of 1
   * @returns {Promise<Blob>} the value, whole
   * @throws {Refused}
   */
  async run(signal, progressed) {
    for (let attempt = 0; ; attempt++) {
      const before = this.#opening?.received ?? 0;
      try {
        await this.#attempt(signal, progressed);
        return /** @type {OpeningFile | PlainFile} */ (this.#opening).value();
      } catch (error) {
        if (signal.aborted) throw new Refused("aborted");
        if (!(error instanceof Refused) || !this.begun || !PASSING.has(error.name)) throw this.#given(error);
        // What gets further may go on for ever.
        if ((this.#opening?.received ?? 0) > before) attempt = 0;
        const pause = PAUSES_MS[attempt];
        if (pause === undefined) throw error;
        await passed(pause, signal);
      }
    }
  }

  /** @param {unknown} error after which what has arrived is of no use */
  #given(error) {
    if (error instanceof Refused && !["damaged", "unsupportedVersion"].includes(error.name)) return error;
    this.#opening = null;
    return error;
  }

  /**
   * @param {AbortSignal} signal
   * @param {(part: number) => void} progressed
   */
  async #attempt(signal, progressed) {
    const ticket = await this.#mint();
    signal.throwIfAborted();
    // Under another key it is another object, of which nothing has arrived.
    if (this.#ticket !== null && !sameKey(this.#ticket, ticket)) this.#opening = null;
    this.#ticket = ticket;
    const from = this.#opening?.received ?? 0;
    if (this.#opening?.whole) return;
    const watch = new Watch(signal);
    try {
      const response = await this.#get(ticket, from, watch);
      await this.#take(ticket, response, watch, progressed);
    } finally {
      watch.end();
    }
  }

  /**
   * @param {Ticket} ticket
   * @param {number} from
   * @param {Watch} watch
   */
  async #get(ticket, from, watch) {
    const headers = headersOf(ticket);
    if (from > 0) headers.range = `bytes=${from}-`;
    const response = await watch.over(
      fetch(ticket.url, {
        headers,
        cache: "no-store",
        credentials: "omit",
        mode: "cors",
        redirect: "error",
        referrerPolicy: "no-referrer",
        signal: watch.signal,
      }),
    );
    if (!response.ok || response.body === null) throw new Refused("storeUnavailable");
    return response;
  }

  /**
   * @param {Ticket} ticket
   * @param {Response} response
   * @param {Watch} watch
   * @param {(part: number) => void} progressed
   */
  async #take(ticket, response, watch, progressed) {
    const length = Number(response.headers.get("content-length") ?? Number.NaN);
    if (!Number.isSafeInteger(length)) throw new Refused("internalError");
    // A store that knows no ranges sends all of it again.
    if (this.#opening === null || response.status !== 206) {
      this.begun = true;
      if (length > this.#limit) throw new Refused("tooLarge");
      this.#size = length;
      this.#opening = ticket.key === null ? new PlainFile(length) : new OpeningFile(ticket.key, length);
    }
    const opening = this.#opening;
    if (length !== this.#size - opening.received) throw new Refused("internalError");
    const reader = /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */ (response.body).getReader();
    try {
      for (;;) {
        const { done, value } = await watch.over(reader.read());
        if (done) break;
        await opening.take(value);
        progressed(opening.received / Math.max(1, this.#size));
      }
    } finally {
      void reader.cancel().catch(() => {});
    }
    if (opening.received < this.#size) throw new Refused("network");
  }
}

/** Ends a transfer in which nothing moves for too long. */
class Watch {
  #controller = new AbortController();
  #outer;
  #timer = 0;
  #late = false;
  #abort = () => this.#controller.abort();

  /** @param {AbortSignal} outer */
  constructor(outer) {
    this.#outer = outer;
    outer.addEventListener("abort", this.#abort);
  }

  get signal() {
    return this.#controller.signal;
  }

  /**
   * @template T
   * @param {Promise<T>} moving
   * @returns {Promise<T>}
   */
  async over(moving) {
    this.#timer = setTimeout(() => {
      this.#late = true;
      this.#abort();
    }, IDLE_MS);
    try {
      return await moving;
    } catch {
      if (this.#late) throw new Refused("timeout");
      throw new Refused(navigator.onLine ? "storeUnavailable" : "network");
    } finally {
      clearTimeout(this.#timer);
    }
  }

  end() {
    this.#outer.removeEventListener("abort", this.#abort);
  }
}

/**
 * @param {Ticket} one
 * @param {Ticket} other
 */
function sameKey(one, other) {
  return String(one.key) === String(other.key);
}

/**
 * @param {number} milliseconds
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function passed(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new Refused("aborted"));
    });
  });
}
