/**
 * A field whose value becomes a token when the field is left, or when the page asks for it: what all fields have in common.
 *
 * Of a value that was shown (or was shown and then changed) the page learns nothing but whether the field is empty: see
 * docs/spec/frame-messages.md, "Oracles".
 */

import { Notice } from "./notice.js";
import { nameOf } from "./refused.js";
import { say } from "./texts.js";

/** @typedef {import("./link.js").Link} Link */
/** @typedef {import("./messages.js").Message} Message */
/** @typedef {{flaw: string | null, message: string}} Judgement the flaw is named as pages know it; the message is for the person alone */

/** @abstract */
export class Field {
  #link;
  #notice = new Notice();
  /** The token of what the field holds, where that is known. @type {string | null} */
  #token = null;
  /** Whether what the field holds has no token yet. */
  #changed = false;
  /** Whether the field has held a value that nobody entered. */
  #opaque = false;
  /** What the page last had the field hold. @type {string | null} */
  #given = null;
  #busy = false;
  /** Counts every change, so that what comes late is known to be late. */
  #revision = 0;
  /** @type {Promise<void> | null} */
  #keeping = null;
  #told = "";
  /** The page's number of what it last had the field hold; reports repeat it, so that the page knows those that come late. */
  #turn = 0;
  /** Whether the page is told what is wrong with what was entered: not before the field is left. */
  #judged = false;
  /** @type {Record<string, any>} */
  settings = {};

  /**
   * @param {Link} link
   * @param {string} kind
   */
  constructor(link, kind) {
    this.#link = link;
    document.body.dataset.kind = kind;
    // A dragged text would be told to whatever page it is dropped on.
    document.addEventListener("dragstart", (event) => event.preventDefault());
    addEventListener("focus", () => {
      // The whole frame was given the focus, as a click on a label does.
      if (document.activeElement === document.body) this.focus();
    });
  }

  /** The value that is in the field. @returns {string} @abstract */
  get text() {
    return "";
  }

  /** Put a value there that nobody entered. @param {string} _text @abstract */
  fill(_text) {}

  /** What is to be said against the value. @returns {Judgement} @abstract */
  get judgement() {
    return { flaw: null, message: "" };
  }

  /** Whether there is a rule that the page is told the outcome of; it depends on no value. @returns {boolean} @abstract */
  get ruled() {
    return false;
  }

  /** Say what is wrong; empty for nothing. @param {string} _message @abstract */
  advise(_message) {}

  /** Let the value be changed or not. @param {{disabled: boolean, readOnly: boolean, busy: boolean}} _how @abstract */
  allow(_how) {}

  /** @abstract */
  focus() {}

  /** @param {Record<string, any>} settings */
  set(settings) {
    this.settings = { ...this.settings, ...settings };
    this.#allow();
    this.#tellState();
  }

  /**
   * Hold the value of a token, or nothing.
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
      else this.fill(text);
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
    if (order.type === "judge") this.judge(true);
    // What was entered stays.
    if (order.type === "recheck" && this.#given !== null && this.#token === this.#given) void this.show(this.#given, this.#turn);
  }

  /** The field has the focus now, or has it no more. @param {boolean} focused */
  focused(focused) {
    if (focused) return this.#link.report({ type: "focused" });
    this.judge();
    this.#link.report({ type: "blurred" });
    this.#keep().catch(() => {});
  }

  /** A person pressed Enter. */
  entered() {
    this.judge();
    this.#link.report({ type: "entered" });
  }

  /** A person changed the value. */
  edited() {
    this.#judged = false;
    this.#revision++;
    this.#token = null;
    this.#changed = true;
    this.#notice.hide();
    this.#tellState();
  }

  /**
   * Say inside what is wrong. The page is told of what was entered alone, and that as a mere yes or no.
   *
   * @param {boolean} [missing] whether an empty field that is required is wrong, too
   */
  judge(missing = false) {
    this.advise(missing && this.settings.required && !this.#filled ? say("missing") : this.judgement.message);
    this.#judged = !this.#opaque && this.text !== "" && this.ruled;
    this.#tellState();
  }

  /**
   * @param {string | null} token
   * @returns {number} the revision
   */
  #begin(token) {
    this.#token = this.#given = token;
    this.#changed = false;
    this.#opaque = token !== null;
    this.#notice.hide();
    this.#judged = false;
    this.fill("");
    this.advise("");
    this.#setBusy(token !== null);
    this.#tellState();
    return ++this.#revision;
  }

  get #filled() {
    return this.#token !== null || this.text !== "";
  }

  /** @param {number} request */
  async #commit(request) {
    this.judge();
    try {
      await this.#keep();
      this.#link.report({ type: "committed", request, token: this.#token });
    } catch (error) {
      this.#link.report({ type: "failed", request, name: nameOf(error) });
    }
  }

  /** See that what the field holds has a token; one at a time, and again if it changed meanwhile. */
  async #keep() {
    while (this.#changed) {
      this.#keeping ??= this.#keepOnce()
        .catch((error) => this.#failKeeping(error))
        .finally(() => {
          this.#keeping = null;
        });
      await this.#keeping;
    }
  }

  async #keepOnce() {
    const revision = this.#revision;
    const text = this.text;
    if (text !== "") this.#link.report({ type: "keeping", turn: this.#turn });
    const token = text === "" ? null : await this.#link.put(text);
    if (revision !== this.#revision) return;
    this.#token = token;
    this.#changed = false;
    this.#notice.hide();
    this.#link.report({ type: "token", turn: this.#turn, token });
  }

  #tellState() {
    const judged = this.#judged;
    const flaw = judged ? this.judgement.flaw : null;
    const told = { type: "state", turn: this.#turn, filled: this.#filled, flaw, judged };
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
    this.#link.failShowing(name);
  }

  /**
   * Say once that what was entered could not be kept, however many wait for it.
   *
   * @param {unknown} error
   * @returns {never}
   */
  #failKeeping(error) {
    const name = nameOf(error);
    this.#notice.show(name, () => void this.#keep().catch(() => {}));
    this.#link.report({ type: "failed", request: null, name });
    throw error;
  }

  /** @param {boolean} busy */
  #setBusy(busy) {
    this.#busy = busy;
    this.#allow();
  }

  #allow() {
    const { disabled = false, readOnly = false } = this.settings;
    this.allow({ disabled, readOnly: readOnly || this.#busy, busy: this.#busy });
  }
}
