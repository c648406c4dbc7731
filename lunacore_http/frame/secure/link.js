/**
 * The way from an element's frame to the hub. The page never sits between: both ends are found and checked by origin.
 */

import { Refused } from "./refused.js";
import { VERSION } from "./version.js";

/** @typedef {import("./messages.js").Message} Message */

// These depend on the value itself, so the page is not told.
const UNTOLD = new Set(["notText", "tooLarge"]);

const LOOK_MS = 25;
const LOOKS = 1200;

export class Link {
  #port;
  #jobs = 0;
  /** @type {Map<number, {resolve: (result: any) => void, reject: (error: Refused) => void}>} */
  #waiting = new Map();
  /** What is done with an order of the page. @type {(order: Message) => void} */
  onorder = () => {};

  /** @param {MessagePort} port */
  constructor(port) {
    this.#port = port;
  }

  /** Begin to hear. */
  start() {
    this.#port.onmessage = (event) => this.#take(event.data);
  }

  /**
   * Tell the page something; the hub lets through what the specification lists, and nothing else.
   *
   * @param {Message} report
   */
  report(report) {
    this.#port.postMessage(report);
  }

  /**
   * Tell the page what could not be shown, unless that says something about a value.
   *
   * @param {string} name of the failure
   */
  failShowing(name) {
    if (!UNTOLD.has(name)) this.report({ type: "failed", request: null, name });
  }

  /**
   * Keep a text.
   *
   * @param {string} text
   * @returns {Promise<string>} its token
   */
  put(text) {
    return this.ask({ type: "put", text });
  }

  /**
   * Get a text back.
   *
   * @param {string} token
   * @returns {Promise<string | null>} null if the value is not a text
   */
  get(token) {
    return this.ask({ type: "get", token });
  }

  /**
   * Have the hub do something.
   *
   * @param {Message} job
   * @returns {Promise<any>}
   */
  ask(job) {
    const number = this.#jobs++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(number, { resolve, reject });
      this.#port.postMessage({ ...job, job: number });
    });
  }

  /** @param {Message} message */
  #take(message) {
    if (message.type !== "done" && message.type !== "refused") return this.onorder(message);
    const waiting = this.#waiting.get(message.job);
    this.#waiting.delete(message.job);
    if (message.type === "done") waiting?.resolve(message.result);
    else waiting?.reject(new Refused(message.name));
  }
}

/**
 * Find the hub of this page, and attach to it. The fragment of our address names connection and element.
 *
 * @returns {Promise<Link>}
 */
export async function attach() {
  const [connection = "", element = ""] = location.hash.slice(1).split(".");
  const hub = await findHub(connection);
  const channel = new MessageChannel();
  hub.postMessage({ type: "attach", lunacore: VERSION, connection, element }, location.origin, [channel.port2]);
  return new Link(channel.port1);
}

/**
 * @param {string} connection
 * @returns {Promise<Window>}
 */
async function findHub(connection) {
  for (let look = 0; look < LOOKS; look++) {
    for (let place = 0; place < parent.length; place++) {
      const frame = parent[place];
      if (frame !== undefined && connectionOf(frame) === connection) return frame;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  throw new Refused("frameUnavailable");
}

/**
 * The connection of a hub; nothing for any other frame. The browser opens the document of a frame of our own origin only.
 *
 * @param {Window} frame
 */
function connectionOf(frame) {
  try {
    return frame.document.documentElement.dataset.connection ?? null;
  } catch {
    return null;
  }
}
