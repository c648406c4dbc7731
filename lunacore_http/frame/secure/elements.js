/**
 * The frames of a page's elements, as the hub sees them: orders go out to them, reports and jobs come in.
 */

import { asAttach, asJob, asReport, dropped } from "./messages.js";
import { nameOf } from "./refused.js";

/** @typedef {import("./messages.js").Message} Message */
/** @typedef {import("./vault.js").Vault} Vault */
/** @typedef {{token: string, bytes: Promise<Uint8Array>}} Ahead */
/** @typedef {{kind: string, port: MessagePort | null, waiting: Message[], ahead: Ahead | null}} Entry */

// They show a text as soon as they are there; others ask for it when somebody wants it.
const SHOWING = new Set(["input", "textarea", "paragraph", "span", "select", "radio"]);
const MAX_ELEMENTS = 500;
const MAX_WAITING = 50;
const FATAL = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export class Elements {
  #vault;
  #tell;
  /** @type {Map<string, Entry>} */
  #entries = new Map();

  /**
   * @param {Vault} vault
   * @param {(report: Message) => void} tell passes a report on to the page
   */
  constructor(vault, tell) {
    this.#vault = vault;
    this.#tell = tell;
  }

  /**
   * Do what the page wants of an element.
   *
   * @param {Message} order
   */
  order(order) {
    const { element, ...rest } = order;
    const entry = order.type === "mount" ? this.#entry(element) : this.#entries.get(element);
    if (entry === undefined) return dropped("there is no such element");
    if (order.type === "unmount") return this.#forget(element, entry);
    if (order.type === "mount") entry.kind = order.kind;
    if (order.type === "mount" || order.type === "show") entry.ahead = this.#ahead(entry.kind, order.token);
    if (entry.port !== null) return entry.port.postMessage(rest);
    if (entry.waiting.length === MAX_WAITING) return dropped("too many wait for an element's frame");
    entry.waiting.push(/** @type {Message} */ (rest));
  }

  /**
   * Take the port of an element's frame: of our own origin, on our page, and the first one for its element.
   *
   * @param {MessageEvent} event
   * @param {string | null} connection
   */
  attach(event, connection) {
    const attach = asAttach(event.data);
    const port = event.ports[0];
    const source = /** @type {Window | null} */ (event.source);
    if (event.origin !== location.origin || source?.parent !== parent) return dropped("it is not from a frame beside this one");
    if (attach === null || port === undefined || event.ports.length > 1) return dropped("a frame's is malformed");
    if (attach.connection !== connection) return dropped("it is for another connection");
    const entry = this.#entry(attach.element);
    if (entry === undefined || entry.port !== null) return dropped("the element has a frame already");
    entry.port = port;
    port.onmessage = (message) => this.#take(attach.element, entry, port, message);
    for (const order of entry.waiting.splice(0)) port.postMessage(order);
    this.#tell({ type: "ready", element: attach.element });
  }

  /** Have every element show anew what it was given to show, since the session may be another. */
  recheck() {
    for (const entry of this.#entries.values()) entry.port?.postMessage({ type: "recheck" });
  }

  /** @param {string} element */
  #entry(element) {
    const known = this.#entries.get(element);
    if (known !== undefined || this.#entries.size === MAX_ELEMENTS) return known;
    const entry = { kind: "", port: null, waiting: [], ahead: null };
    this.#entries.set(element, entry);
    return entry;
  }

  /**
   * @param {string} element
   * @param {Entry} entry
   */
  #forget(element, entry) {
    this.#entries.delete(element);
    entry.port?.close();
  }

  /**
   * @param {string} element
   * @param {Entry} entry
   * @param {MessagePort} port
   * @param {MessageEvent} event
   */
  #take(element, entry, port, event) {
    const job = asJob(event.data);
    if (job !== null) return void this.#work(job, entry, port);
    const report = asReport(event.data);
    if (report === null) return dropped("an element's frame sent one that is unknown or malformed");
    this.#tell({ ...report, element });
  }

  /**
   * @param {Message} job
   * @param {Entry} entry
   * @param {MessagePort} port
   */
  async #work(job, entry, port) {
    try {
      port.postMessage({ type: "done", job: job.job, result: await this.#resultOf(job, entry) });
    } catch (error) {
      port.postMessage({ type: "refused", job: job.job, name: nameOf(error) });
    }
  }

  /**
   * @param {Message} job
   * @param {Entry} entry
   */
  #resultOf(job, entry) {
    if (job.type === "put") return this.#vault.put(job.text);
    if (job.type === "upload-ticket") return this.#vault.uploadTicket(job.size, job.fileinfo);
    if (job.type === "download-ticket") return this.#vault.downloadTicket(job.token);
    if (job.type === "file-info") return this.#vault.fileInfo(job.token);
    return this.#textOf(job.token, entry);
  }

  /**
   * Get a value before its element's frame has loaded, so that all of a page are asked for at once.
   *
   * @param {string} kind
   * @param {string | null} token
   * @returns {Ahead | null}
   */
  #ahead(kind, token) {
    if (token === null || !SHOWING.has(kind)) return null;
    const bytes = this.#vault.get(token);
    bytes.catch(() => {}); // whoever waits for it hears of it
    return { token, bytes };
  }

  /**
   * @param {string} token
   * @param {Entry} entry
   * @returns {Promise<string | null>} null if the value is not a text
   */
  async #textOf(token, entry) {
    const ahead = entry.ahead;
    entry.ahead = null;
    const bytes = await (ahead?.token === token ? ahead.bytes : this.#vault.get(token));
    try {
      return FATAL.decode(bytes);
    } catch {
      return null;
    }
  }
}
