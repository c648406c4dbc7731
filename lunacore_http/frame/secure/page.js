/**
 * The page that embeds the frames, as the hub sees it: one connection, with whoever may have it.
 */

import { asConnect, asOrder, dropped } from "./messages.js";
import { VERSION } from "./version.js";

/** @typedef {import("./messages.js").Message} Message */

const ATTEMPT_MS = 30_000;

export class Page {
  #origins;
  #hear;
  /** @type {MessagePort | null} */
  #port = null;
  /** @type {(() => void) | null} */
  #attempted = null;

  /**
   * @param {readonly string[]} origins of the applications that may connect
   * @param {(order: Message) => void} hear is told what the page wants
   */
  constructor(origins, hear) {
    this.#origins = origins;
    this.#hear = hear;
  }

  /**
   * Take the page's port, if it may connect: our parent, of a configured origin, and the first one.
   *
   * @param {MessageEvent} event
   * @returns {string | null} the nonce that names the connection
   */
  connect(event) {
    const connect = asConnect(event.data);
    const port = event.ports[0];
    if (event.source !== parent || parent === self) return refuse("it is not from the page that embeds this frame");
    if (!this.#origins.includes(event.origin)) return refuse("its origin is not in frame.app_origins");
    if (connect === null || port === undefined || event.ports.length > 1) return refuse("it is malformed");
    if (this.#port !== null) return refuse("the page is connected already");
    if (connect.lunacore !== VERSION) {
      port.postMessage({ type: "unsupported", versions: [VERSION] });
      return refuse("it is of another version");
    }
    this.#port = port;
    port.onmessage = (message) => this.#take(message);
    this.tell({ type: "connected", nonce: connect.nonce, version: VERSION });
    return connect.nonce;
  }

  /** @param {Message} message */
  tell(message) {
    this.#port?.postMessage(message);
  }

  /**
   * Have the page open /session/ensure in a frame; done when it says that it has, or takes too long.
   *
   * @param {boolean} renew whether to ask the application also if there is a session
   */
  async attemptSession(renew) {
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, ATTEMPT_MS);
      this.#attempted = () => {
        clearTimeout(timer);
        resolve(undefined);
      };
      this.tell({ type: "session-needed", renew });
    });
    this.#attempted = null;
  }

  /** @param {MessageEvent} event */
  #take(event) {
    const order = asOrder(event.data);
    if (order === null || event.ports.length > 0) return dropped("the page sent one that is unknown or malformed");
    if (order.type !== "session-attempted") return this.#hear(order);
    if (this.#attempted === null) return dropped("no session was asked for");
    this.#attempted();
  }
}

/** @param {string} why */
function refuse(why) {
  dropped(why);
  return null;
}
