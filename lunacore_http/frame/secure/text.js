/**
 * A text that is shown and cannot be changed: the inside of <secure-paragraph> and <secure-span>.
 */

import { Notice } from "./notice.js";
import { nameOf } from "./refused.js";
import { say } from "./texts.js";

/** @typedef {import("./link.js").Link} Link */
/** @typedef {import("./messages.js").Message} Message */

const OPEN_MS = 30_000;

export class Text {
  #link;
  #box;
  #button = document.createElement("button");
  #label = "";
  /** What the token stands for, whether or not it is to be seen. */
  #text = "";
  /** Whether it is to be seen only when a person asks for it. */
  #covers = false;
  #open = false;
  #timer = 0;
  #notice = new Notice();
  #shown = 0;
  /** @type {string | null} */
  #token = null;

  /**
   * @param {Link} link
   * @param {"paragraph" | "span"} kind
   */
  constructor(link, kind) {
    this.#link = link;
    this.#box = document.createElement(kind === "span" ? "span" : "p");
    this.#box.className = "text";
    document.body.dataset.kind = kind;
    document.body.prepend(this.#box, this.#button);
    this.#button.type = "button";
    this.#button.className = "reveal";
    this.#button.addEventListener("click", () => this.#reveal(!this.#open));
    addEventListener("blur", () => this.#reveal(false));
    this.#draw();
    // A dragged text would be told to whatever page it is dropped on.
    document.addEventListener("dragstart", (event) => event.preventDefault());
    // A text that is cut off can be scrolled by keyboard.
    if (kind === "paragraph") this.#box.tabIndex = 0;
  }

  /** @param {Record<string, any>} settings */
  set(settings) {
    if ("placeholder" in settings) this.#box.dataset.placeholder = settings.placeholder || "–";
    if ("reveal" in settings) this.#covers = settings.reveal;
    this.#label = settings.label ?? this.#label;
    this.#draw();
    if (!this.#label) return;
    this.#box.setAttribute("role", "group");
    this.#box.setAttribute("aria-label", this.#label);
  }

  /** @param {string | null} token */
  async show(token) {
    const turn = ++this.#shown;
    this.#token = token;
    this.#notice.hide();
    this.#text = "";
    this.#reveal(false);
    this.#box.setAttribute("aria-busy", String(token !== null));
    if (token === null) return;
    try {
      const text = await this.#link.get(token);
      if (turn !== this.#shown) return;
      if (text === null) this.#fail("notText", token);
      else this.#text = text;
      this.#draw();
    } catch (error) {
      if (turn === this.#shown) this.#fail(nameOf(error), token);
    }
    this.#box.setAttribute("aria-busy", "false");
  }

  /** @param {boolean} open */
  #reveal(open) {
    clearTimeout(this.#timer);
    if (open) this.#timer = setTimeout(() => this.#reveal(false), OPEN_MS);
    this.#open = open;
    this.#draw();
  }

  #draw() {
    const covered = this.#covers && this.#text !== "" && !this.#open;
    this.#box.textContent = covered ? "" : this.#text;
    this.#box.classList.toggle("covered", covered);
    this.#button.hidden = !this.#covers || this.#text === "";
    this.#button.textContent = say(this.#open ? "hide" : "show");
    this.#button.setAttribute("aria-label", `${this.#button.textContent} ${this.#label}`.trim());
  }

  /** @param {Message} order */
  order(order) {
    if (order.type === "show") void this.show(order.token);
    if (order.type === "recheck") void this.show(this.#token);
    if (order.type === "commit") this.#link.report({ type: "failed", request: order.request, name: "invalidRequest" });
  }

  /**
   * @param {string} name
   * @param {string} token
   */
  #fail(name, token) {
    this.#notice.show(name, () => void this.show(token));
    this.#link.failShowing(name);
  }
}
