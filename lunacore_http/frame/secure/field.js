/**
 * A field that a person types into: the inside of <secure-input>.
 *
 * What was typed is kept, and becomes a token, when the field is left, or when the page asks for it. Of a text that was shown (or
 * was shown and then edited) the page learns nothing but whether the field is empty: see docs/spec/frame-messages.md, "Oracles".
 */

import { Notice } from "./notice.js";
import { nameOf } from "./refused.js";
import { reportShowing } from "./text.js";

/** @typedef {import("./link.js").Link} Link */
/** @typedef {import("./messages.js").Message} Message */

export class Field {
  #link;
  #input = document.createElement("input");
  #notice = new Notice();
  /** The token of what the field holds, where that is known. @type {string | null} */
  #token = null;
  /** Whether what the field holds has no token yet. */
  #changed = false;
  /** Whether the field has held a text that nobody typed. */
  #opaque = false;
  #busy = false;
  /** Counts every change, so that what comes late is known to be late. */
  #revision = 0;
  /** @type {Promise<void> | null} */
  #keeping = null;
  #told = "";
  /** The page's number of what it last had the field hold; reports repeat it, so that the page knows those that come late. */
  #turn = 0;
  #settings = { disabled: false, readOnly: false };

  /** @param {Link} link */
  constructor(link) {
    this.#link = link;
    this.#input.setAttribute("aria-describedby", "notice");
    this.#input.spellcheck = false;
    document.body.dataset.kind = "input";
    document.body.prepend(this.#input);
    this.#listen();
  }

  /** @param {Record<string, any>} settings */
  set(settings) {
    const input = this.#input;
    this.#settings = { ...this.#settings, ...settings };
    if ("label" in settings) input.setAttribute("aria-label", settings.label);
    if ("description" in settings) input.setAttribute("aria-description", settings.description);
    if ("placeholder" in settings) input.placeholder = settings.placeholder;
    if ("type" in settings) input.type = settings.type;
    if ("autocomplete" in settings) this.#autofill(settings.autocomplete);
    if ("required" in settings) input.setAttribute("aria-required", String(settings.required));
    if ("maxLength" in settings) this.#limit(settings.maxLength);
    this.#allow();
    this.#tellState();
  }

  /**
   * Hold the text of a token, or nothing.
   *
   * @param {string | null} token
   * @param {number} turn the page's number of this
   */
  async show(token, turn) {
    this.#turn = turn;
    const revision = this.#begin(token);
    if (token === null) return;
    try {
      const text = await this.#link.get(token);
      if (revision !== this.#revision) return;
      if (text === null) this.#failShowing("notText", token);
      else this.#input.value = text;
    } catch (error) {
      if (revision !== this.#revision) return;
      this.#failShowing(nameOf(error), token);
    }
    this.#setBusy(false);
  }

  /** @param {Message} order */
  order(order) {
    if (order.type === "show") void this.show(order.token, order.turn);
    if (order.type === "commit") void this.#commit(order.request);
  }

  #listen() {
    const input = this.#input;
    input.addEventListener("input", () => this.#edited());
    input.addEventListener("focus", () => this.#link.report({ type: "focused" }));
    input.addEventListener("blur", () => {
      this.#link.report({ type: "blurred" });
      void this.#keep().catch((error) => this.#failKeeping(nameOf(error), null));
    });
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.isComposing) this.#link.report({ type: "entered" });
    });
    // A dragged text would be told to whatever page it is dropped on.
    document.addEventListener("dragstart", (event) => event.preventDefault());
    addEventListener("focus", () => {
      // The whole frame was given the focus, as a click on a label does.
      if (document.activeElement === document.body) input.focus();
    });
  }

  /**
   * @param {string | null} token
   * @returns {number} the revision
   */
  #begin(token) {
    this.#token = token;
    this.#changed = false;
    this.#opaque = token !== null;
    this.#notice.hide();
    this.#input.value = "";
    this.#setBusy(token !== null);
    this.#tellState();
    return ++this.#revision;
  }

  #edited() {
    this.#revision++;
    this.#token = null;
    this.#changed = true;
    this.#notice.hide();
    this.#tellState();
  }

  /** @param {number} request */
  async #commit(request) {
    try {
      await this.#keep();
      this.#link.report({ type: "committed", request, token: this.#token });
    } catch (error) {
      this.#failKeeping(nameOf(error), request);
    }
  }

  /** See that what the field holds has a token; one at a time, and again if it changed meanwhile. */
  async #keep() {
    while (this.#changed) {
      this.#keeping ??= this.#keepOnce().finally(() => {
        this.#keeping = null;
      });
      await this.#keeping;
    }
  }

  async #keepOnce() {
    const revision = this.#revision;
    const text = this.#input.value;
    const token = text === "" ? null : await this.#link.put(text);
    if (revision !== this.#revision) return;
    this.#token = token;
    this.#changed = false;
    this.#notice.hide();
    this.#link.report({ type: "token", turn: this.#turn, token });
  }

  #tellState() {
    const filled = this.#token !== null || this.#input.value !== "";
    const told = { type: "state", turn: this.#turn, filled, flaw: this.#opaque ? null : flawOf(this.#input) };
    if (JSON.stringify(told) === this.#told) return;
    this.#told = JSON.stringify(told);
    this.#link.report(told);
  }

  /**
   * @param {string} name
   * @param {string} token
   */
  #failShowing(name, token) {
    this.#notice.show(name, () => void this.show(token, this.#turn));
    reportShowing(this.#link, name);
  }

  /**
   * @param {string} name
   * @param {number | null} request
   */
  #failKeeping(name, request) {
    this.#notice.show(name, () => void this.#keep().catch((error) => this.#failKeeping(nameOf(error), null)));
    this.#link.report({ type: "failed", request, name });
  }

  /** @param {boolean} busy */
  #setBusy(busy) {
    this.#busy = busy;
    this.#input.setAttribute("aria-busy", String(busy));
    this.#allow();
  }

  #allow() {
    this.#input.disabled = this.#settings.disabled;
    this.#input.readOnly = this.#settings.readOnly || this.#busy;
  }

  /** @param {string} detail the autofill detail tokens of HTML, such as "cc-number" */
  #autofill(detail) {
    this.#input.setAttribute("autocomplete", detail || "off");
    this.#input.name = detail || "value";
  }

  /** @param {number | null} length characters */
  #limit(length) {
    if (length === null) this.#input.removeAttribute("maxlength");
    else this.#input.maxLength = length;
  }
}

/**
 * What a browser has against a text that was typed.
 *
 * @param {HTMLInputElement} input
 */
function flawOf(input) {
  const validity = input.validity;
  if (validity.typeMismatch) return "typeMismatch";
  if (validity.tooShort) return "tooShort";
  return validity.badInput ? "badInput" : null;
}
