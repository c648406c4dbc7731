/**
 * The frame of one element: it waits for the hub to say what it is, and then is that.
 */

import { attach } from "./link.js";
import { Notice } from "./notice.js";
import { nameOf } from "./refused.js";
import { applyStyle } from "./style.js";
import { speak } from "./texts.js";

/** @typedef {import("./link.js").Link} Link */
/** @typedef {import("./messages.js").Message} Message */

/**
 * The inside of a component: told its settings, and every order of the page that is not for all alike.
 *
 * @typedef {{set: (settings: Record<string, any>) => void, show: (token: string | null, turn: number) => Promise<void>,
 *   order: (order: Message) => void}} Inside
 */

/**
 * Be what the page says, if it is of the kinds that this document is for.
 *
 * @param {Readonly<Record<string, (link: Link) => Inside>>} kinds
 */
export function begin(kinds) {
  // Opened as a page of its own there is nothing to show.
  if (parent !== self) run(new Map(Object.entries(kinds))).catch((error) => new Notice().show(nameOf(error), () => location.reload()));
}

/** @param {ReadonlyMap<string, (link: Link) => Inside>} kinds */
async function run(kinds) {
  const link = await attach();
  /** @type {Inside | null} */
  let inside = null;
  /** @param {Message} order */
  async function take(order) {
    if (order.type === "style") return applyStyle(order.style);
    if (order.type === "set") return inside?.set(order.settings);
    if (order.type !== "mount") return inside?.order(order);
    const make = kinds.get(order.kind);
    if (inside !== null || make === undefined) return;
    await speak(order.settings.lang);
    applyStyle(order.style);
    inside = make(link);
    void inside.show(order.token, order.turn);
    inside.set(order.settings);
  }
  let last = Promise.resolve();
  // One after another: what was ordered first may have to wait for its texts.
  link.onorder = (order) => {
    last = last.then(() => take(order)).catch(reportError);
  };
  link.start();
}
