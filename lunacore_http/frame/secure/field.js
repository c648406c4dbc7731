/**
 * A field that a person types into: the inside of <secure-input>.
 *
 * What was typed is kept, and becomes a token, when the field is left, or when the page asks for it. Of a text that was shown (or
 * was shown and then edited) the page learns nothing but whether the field is empty: see docs/spec/frame-messages.md, "Oracles".
 */

import { Advice, judge } from "./advice.js";
import { autofillOf } from "./autofill.js";
import { masked } from "./masks.js";
import { Notice } from "./notice.js";
import { nameOf } from "./refused.js";
import { reportShowing } from "./text.js";
import { VALIDATORS } from "./validators.js";

/** @typedef {import("./link.js").Link} Link */
/** @typedef {import("./messages.js").Message} Message */

export class Field {
  #link;
  #input = document.createElement("input");
  #notice = new Notice();
  #advice;
  /** The token of what the field holds, where that is known. @type {string | null} */
  #token = null;
  /** Whether what the field holds has no token yet. */
  #changed = false;
  /** Whether the field has held a text that nobody typed. */
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
  #settings = { disabled: false, readOnly: false, required: false };
  /** The first ones stay, so that no page tries one rule after another on a text. @type {{validator: string, mask: string} | null} */
  #rules = null;
  /** Whether the mask does not fit a text that was shown, which then stays as it is. */
  #unmasked = false;
  /** Whether the page is told what is wrong with what was typed: not before the field is left. */
  #judged = false;

  /** @param {Link} link */
  constructor(link) {
    this.#link = link;
    this.#input.spellcheck = false;
    this.#input.autocapitalize = "off";
    document.body.dataset.kind = "input";
    document.body.prepend(this.#input);
    this.#advice = new Advice(this.#input);
    this.#listen();
  }

  /** @param {Record<string, any>} settings */
  set(settings) {
    const input = this.#input;
    this.#settings = { ...this.#settings, ...settings };
    const rules = (this.#rules ??= { validator: settings.validator ?? "", mask: settings.mask ?? "" });
    if ("label" in settings) input.setAttribute("aria-label", settings.label);
    if ("description" in settings) this.#advice.describe(settings.description);
    if ("placeholder" in settings) input.placeholder = settings.placeholder;
    // Other types have rules of their own, and some no caret.
    if ("type" in settings) input.type = settings.type !== "password" && (rules.validator || rules.mask) ? "text" : settings.type;
    if ("autocomplete" in settings) this.#autofill(settings.autocomplete);
    input.inputMode = VALIDATORS[rules.validator]?.[2] ?? "";
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
      else this.#fill(text);
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
    if (order.type === "judge") this.#judge(true);
    // What was typed stays.
    if (order.type === "recheck" && this.#given !== null && this.#token === this.#given) void this.show(this.#given, this.#turn);
  }

  #listen() {
    const input = this.#input;
    input.addEventListener("input", (event) => this.#edited(/** @type {InputEvent} */ (event)));
    input.addEventListener("compositionend", () => this.#edited(null));
    input.addEventListener("focus", () => this.#link.report({ type: "focused" }));
    input.addEventListener("blur", () => {
      this.#judge();
      this.#link.report({ type: "blurred" });
      void this.#tryToKeep();
    });
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      this.#judge();
      this.#link.report({ type: "entered" });
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
    this.#token = this.#given = token;
    this.#changed = false;
    this.#opaque = token !== null;
    this.#notice.hide();
    this.#judged = false;
    this.#fill("");
    this.#advice.tell("");
    this.#setBusy(token !== null);
    this.#tellState();
    return ++this.#revision;
  }

  /** @param {string} text that nobody typed */
  #fill(text) {
    this.#input.value = text;
    this.#unmasked = text !== "" && this.#rules !== null && masked(this.#rules, text, 0)[0] !== text;
    this.#advice.draw(this.#rules?.validator ?? "", text);
  }

  /** @param {InputEvent | null} event null at the end of a composition */
  #edited(event) {
    const { validator = "", mask = "" } = this.#rules ?? {};
    const input = this.#input;
    if (input.value === "") this.#unmasked = false;
    if (!this.#unmasked && !event?.isComposing) {
      const forward = event?.inputType === "deleteContentForward";
      const [text, caret] = masked({ validator, mask }, input.value, input.selectionStart ?? input.value.length, forward);
      if (text !== input.value) {
        input.value = text;
        input.setSelectionRange(caret, caret);
      }
    }
    this.#advice.draw(validator, input.value);
    if (this.#advice.objects && judge(validator, input).flaw === null) this.#advice.tell("");
    this.#judged = false;
    this.#revision++;
    this.#token = null;
    this.#changed = true;
    this.#notice.hide();
    this.#tellState();
  }

  /**
   * Say inside what is wrong. The page is told of what was typed alone, and that as a mere yes or no.
   *
   * @param {boolean} [missing] whether an empty field that is required is wrong, too
   */
  #judge(missing = false) {
    const { value, type } = this.#input;
    const validator = this.#rules?.validator ?? "";
    const { message } = judge(validator, this.#input);
    this.#advice.tell(missing && this.#settings.required && !this.#filled ? "Please fill this in" : message);
    this.#judged = !this.#opaque && value !== "" && (validator !== "" || type === "email" || type === "url");
    this.#tellState();
  }

  get #filled() {
    return this.#token !== null || this.#input.value !== "";
  }

  /** @param {number} request */
  async #commit(request) {
    this.#judge();
    try {
      await this.#keep();
      this.#link.report({ type: "committed", request, token: this.#token });
    } catch (error) {
      this.#link.report({ type: "failed", request, name: nameOf(error) });
    }
  }

  /** Keep what the field holds without anybody waiting for it. */
  #tryToKeep() {
    return this.#keep().catch(() => {});
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
    const text = this.#input.value;
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
    const flaw = judged ? judge(this.#rules?.validator ?? "", this.#input).flaw : null;
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
    reportShowing(this.#link, name);
  }

  /**
   * Say once that what was typed could not be kept, however many wait for it.
   *
   * @param {unknown} error
   * @returns {never}
   */
  #failKeeping(error) {
    const name = nameOf(error);
    this.#notice.show(name, () => void this.#tryToKeep());
    this.#link.report({ type: "failed", request: null, name });
    throw error;
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
    const known = autofillOf(detail) || (VALIDATORS[this.#rules?.validator ?? ""]?.[3] ?? "off");
    this.#input.setAttribute("autocomplete", known);
    this.#input.name = known;
  }

  /** @param {number | null} length characters */
  #limit(length) {
    if (length === null) this.#input.removeAttribute("maxlength");
    else this.#input.maxLength = length;
  }
}
