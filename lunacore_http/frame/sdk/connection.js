/**
 * The page's one connection to the tokenizer's frames (docs/spec/frame-messages.md, "Page").
 */

/** @typedef {{type: string} & Record<string, any>} Message */
/** @typedef {(report: Message) => void} Listener */

const VERSION = 1;
const CONNECT_MS = 20_000;
const ATTEMPT_MS = 25_000;
const NONCE_BYTES = 16;
const SANDBOX = "allow-scripts allow-same-origin";

/** Where this file came from is where the tokenizer is. */
export const TOKENIZER = new URL(import.meta.url).origin;

const MAX_CONNECTIONS = 10;
/** The page's <meta> that names which identity provider gives the session, where the tokenizer has several. */
const PROVIDER = 'meta[name="lunacore-provider"]';

/** @type {Connection | null} */
let current = null;
let made = 0;

/** The connection of this page; a new one if the old one's frame was removed or sent elsewhere. */
export function connection() {
  if (current === null || (current.lost && made < MAX_CONNECTIONS)) {
    made++;
    current = new Connection();
  }
  return current;
}

export class Connection {
  #nonce = nonce();
  #provider = document.querySelector(PROVIDER)?.getAttribute("content") ?? "";
  #frame = hiddenFrame(this.#provider ? `/frame/hub#${new URLSearchParams({ provider: this.#provider })}` : "/frame/hub");
  /** @type {MessagePort | null} */
  #port = null;
  /** @type {Message[]} */
  #waiting = [];
  /** @type {Map<string, Listener>} */
  #listeners = new Map();
  #elements = 0;
  #loaded = false;
  /** Whether the hub's frame is gone, or another document is in it. */
  lost = false;

  constructor() {
    this.#frame.addEventListener("load", () => this.#connect());
    setTimeout(() => this.#giveUp(), CONNECT_MS);
    // Not into the body, which some frameworks replace whole.
    document.documentElement.append(this.#frame);
    this.#watch();
  }

  /**
   * A new element.
   *
   * @param {string} document that its frame shows
   * @param {Listener} listener hears what its frame reports
   * @returns {{element: string, address: string}} its name, and the address of its frame
   */
  element(document, listener) {
    const element = `e${++this.#elements}`;
    this.#listeners.set(element, listener);
    return { element, address: `${TOKENIZER}/frame/${document}#${this.#nonce}.${element}` };
  }

  /**
   * @param {string} element
   */
  forget(element) {
    this.#listeners.delete(element);
    this.send({ type: "unmount", element });
  }

  /** @param {Message} order */
  send(order) {
    if (this.#port === null) this.#waiting.push(order);
    else this.#port.postMessage(order);
  }

  #connect() {
    if (this.#loaded) return this.#lose();
    this.#loaded = true;
    const channel = new MessageChannel();
    channel.port1.onmessage = (event) => this.#answered(channel.port1, event.data);
    const hello = { type: "connect", lunacore: VERSION, nonce: this.#nonce };
    this.#frame.contentWindow?.postMessage(hello, TOKENIZER, [channel.port2]);
  }

  /**
   * @param {MessagePort} port
   * @param {Message} answer
   */
  #answered(port, answer) {
    if (answer.type !== "connected" || answer.nonce !== this.#nonce) return this.#fail("frameUnavailable");
    this.#port = port;
    port.onmessage = (event) => this.#hear(event.data);
    for (const order of this.#waiting.splice(0)) port.postMessage(order);
  }

  /** @param {Message} report */
  #hear(report) {
    if (report.type === "session-needed") return this.#attemptSession(report.renew);
    this.#listeners.get(report.element)?.(report);
  }

  /**
   * Go through the session's redirects in a frame of their own, so that the hub and what was typed stay.
   *
   * @param {boolean} renew
   */
  #attemptSession(renew) {
    const query = new URLSearchParams({ return_to: "/frame" });
    if (renew) query.set("renew", "true");
    if (this.#provider) query.set("provider", this.#provider);
    const frame = hiddenFrame(`/session/ensure?${query}`);
    const timer = setTimeout(done, ATTEMPT_MS);
    const tell = () => this.send({ type: "session-attempted" });
    function done() {
      clearTimeout(timer);
      frame.removeEventListener("load", done);
      frame.remove();
      tell();
    }
    frame.addEventListener("load", done);
    document.documentElement.append(frame);
  }

  #giveUp() {
    if (this.#port !== null || this.lost) return;
    console.error(
      `LunaCore: ${TOKENIZER} does not answer. Is ${location.origin} in its setting frame.app_origins, and do this page's ` +
        "Content-Security-Policy and network let its frames load?",
    );
    this.#fail("frameUnavailable");
  }

  #watch() {
    const observer = new MutationObserver(() => {
      if (this.#frame.isConnected) return;
      observer.disconnect();
      this.#lose();
    });
    observer.observe(document, { childList: true });
    observer.observe(document.documentElement, { childList: true });
  }

  /** The hub is gone, and its elements cannot go on with it: each begins anew at the next. */
  #lose() {
    if (this.lost) return;
    this.lost = true;
    this.#frame.remove();
    const type = made < MAX_CONNECTIONS ? "lost" : "failed";
    this.#tellAll({ type, request: null, name: "frameUnavailable" });
  }

  /** @param {string} name */
  #fail(name) {
    this.#tellAll({ type: "failed", request: null, name });
  }

  /** @param {Message} report */
  #tellAll(report) {
    for (const listener of [...this.#listeners.values()]) listener(report);
  }
}

/**
 * @param {string} title
 * @param {string} address
 * @param {{allow: string, sandbox: string}} [rights] beside those that every frame has
 */
export function visibleFrame(title, address, { allow, sandbox } = { allow: "", sandbox: "" }) {
  const frame = document.createElement("iframe");
  frame.title = title;
  frame.setAttribute("sandbox", `${SANDBOX} ${sandbox}`.trim());
  frame.allow = allow;
  frame.referrerPolicy = "no-referrer";
  frame.src = address;
  return frame;
}

/** @param {string} path */
function hiddenFrame(path) {
  const frame = visibleFrame("", TOKENIZER + path);
  frame.hidden = true;
  frame.tabIndex = -1;
  frame.setAttribute("aria-hidden", "true");
  return frame;
}

/** 128 random bits in base64url. */
function nonce() {
  const octets = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
  return btoa(String.fromCharCode(...octets)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
