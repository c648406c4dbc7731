/**
 * The frame of one element: it waits for the hub to say what it is, and then is that.
 */

import { Field } from "./field.js";
import { attach } from "./link.js";
import { Notice } from "./notice.js";
import { nameOf } from "./refused.js";
import { applyStyle } from "./style.js";
import { Text } from "./text.js";

/** @typedef {import("./messages.js").Message} Message */

async function run() {
  const link = await attach();
  /** @type {Field | Text | null} */
  let inside = null;
  link.onorder = (order) => {
    if (order.type === "mount") {
      if (inside === null) inside = mounted(link, order);
    } else if (order.type === "style") applyStyle(order.style);
    else if (order.type === "set") inside?.set(order.settings);
    else inside?.order(order);
  };
  link.start();
}

/**
 * @param {import("./link.js").Link} link
 * @param {Message} order
 */
function mounted(link, order) {
  applyStyle(order.style);
  const inside = order.kind === "input" ? new Field(link) : new Text(link, order.kind);
  void inside.show(order.token, order.turn);
  inside.set(order.settings);
  return inside;
}

// Opened as a page of its own there is nothing to show.
if (parent !== self) run().catch((error) => new Notice().show(nameOf(error), () => location.reload()));
