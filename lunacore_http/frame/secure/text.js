/**
 * A text that is shown and cannot be changed: the inside of <secure-paragraph> and <secure-span>.
 */

import { Notice } from "./notice.js";
import { nameOf } from "./refused.js";

/** @typedef {import("./link.js").Link} Link */
/** @typedef {import("./messages.js").Message} Message */

// These depend on the value itself, so the page is not told.
const UNTOLD = new Set(["notText", "tooLarge"]);

/**
 * Tell the page what failed, unless that says something about a value.
 *
 * @param {Link} link
 * @param {string} name
 */
export function reportShowing(link, name) {
  if (!UNTOLD.has(name)) link.report({ type: "failed", request: null, name });
}

export class Text {
  #link;
  #box;
  #notice = new Notice();
  #shown = 0;

  /**
   * @param {Link} link
   * @param {"paragraph" | "span"} kind
   */
  constructor(link, kind) {
    this.#link = link;
    this.#box = document.createElement(kind === "span" ? "span" : "p");
    this.#box.className = "text";
    document.body.dataset.kind = kind;
    document.body.prepend(this.#box);
    // A dragged text would be told to whatever page it is dropped on.
    document.addEventListener("dragstart", (event) => event.preventDefault());
    // A text that is cut off can be scrolled by keyboard.
    if (kind === "paragraph") this.#box.tabIndex = 0;
  }

  /** @param {Record<string, any>} settings */
  set(settings) {
    if (!settings.label) return;
    this.#box.setAttribute("role", "group");
    this.#box.setAttribute("aria-label", settings.label);
  }

  /** @param {string | null} token */
  async show(token) {
    const turn = ++this.#shown;
    this.#notice.hide();
    this.#box.textContent = "";
    this.#box.setAttribute("aria-busy", String(token !== null));
    if (token === null) return;
    try {
      const text = await this.#link.get(token);
      if (turn !== this.#shown) return;
      if (text === null) this.#fail("notText", token);
      else this.#box.textContent = text;
    } catch (error) {
      if (turn === this.#shown) this.#fail(nameOf(error), token);
    }
    this.#box.setAttribute("aria-busy", "false");
  }

  /** @param {Message} order */
  order(order) {
    if (order.type === "show") void this.show(order.token);
    if (order.type === "commit") this.#link.report({ type: "failed", request: order.request, name: "invalidRequest" });
  }

  /**
   * @param {string} name
   * @param {string} token
   */
  #fail(name, token) {
    this.#notice.show(name, () => void this.show(token));
    reportShowing(this.#link, name);
  }
}
