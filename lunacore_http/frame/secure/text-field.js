/**
 * A field that a person types into: the inside of <secure-input> and <secure-textarea>.
 */

import { Advice, part } from "./advice.js";
import { autofillOf } from "./autofill.js";
import { Field } from "./field.js";
import { masked } from "./masks.js";
import { say } from "./texts.js";
import { VALIDATORS, brandOf } from "./validators.js";

/** @typedef {import("./link.js").Link} Link */

export class TextField extends Field {
  /** @type {HTMLInputElement} */
  #input;
  #brand = part("brand");
  #advice;
  /** The first ones stay, so that no page tries one rule after another on a text. */
  #rules = { validator: "", mask: "", minLength: 0 };
  #ruled = false;
  /** Whether the mask does not fit a text that was shown, which then stays as it is. */
  #unmasked = false;

  /**
   * @param {Link} link
   * @param {"input" | "textarea"} kind
   */
  constructor(link, kind) {
    super(link, kind);
    // What is used of them they have in common, but for the type.
    this.#input = /** @type {HTMLInputElement} */ (document.createElement(kind));
    this.#input.spellcheck = false;
    this.#input.autocapitalize = "off";
    document.body.prepend(this.#input);
    this.#advice = new Advice(this.#input, this.#brand);
    this.#listen(kind === "input");
  }

  /** @override @param {Record<string, any>} settings */
  set(settings) {
    const input = this.#input;
    const { validator = "", mask = "", minLength = 0 } = settings;
    if (!this.#ruled) this.#rules = { validator, mask, minLength };
    this.#ruled = true;
    const rules = this.#rules;
    if ("label" in settings) input.setAttribute("aria-label", settings.label);
    if ("description" in settings) this.#advice.describe(settings.description);
    if ("placeholder" in settings) input.placeholder = settings.placeholder;
    // Other types have rules of their own, and some no caret.
    if ("type" in settings) input.setAttribute("type", settings.type !== "password" && (rules.validator || rules.mask) ? "text" : settings.type);
    if ("autocomplete" in settings) this.#autofill(settings.autocomplete);
    input.inputMode = settings.inputMode || (VALIDATORS[rules.validator]?.[1] ?? "");
    input.enterKeyHint = settings.enterKeyHint ?? "";
    if ("wrap" in settings) input.setAttribute("wrap", settings.wrap);
    if ("required" in settings) input.setAttribute("aria-required", String(settings.required));
    if ("maxLength" in settings) this.#limit(settings.maxLength);
    super.set(settings);
  }

  /** @override */
  get text() {
    return this.#input.value;
  }

  /** @override @param {string} text */
  fill(text) {
    this.#input.value = text;
    this.#unmasked = text !== "" && masked(this.#rules, text, 0)[0] !== text;
    this.#drawBrand();
  }

  /** @override */
  get judgement() {
    const { validator, minLength } = this.#rules;
    const found = judge(validator, this.#input);
    // Said inside alone: a page that is told of lengths could count.
    if (found.message === "" && this.text !== "" && this.text.length < minLength) found.message = say("short", String(minLength));
    return found;
  }

  /** @override */
  get ruled() {
    return this.#rules.validator !== "" || /^(email|url)$/.test(this.#input.type);
  }

  /** @override @param {string} message */
  advise(message) {
    this.#advice.tell(message);
  }

  /** @override @param {{disabled: boolean, readOnly: boolean, busy: boolean}} how */
  allow({ disabled, readOnly, busy }) {
    this.#input.setAttribute("aria-busy", String(busy));
    this.#input.disabled = disabled;
    this.#input.readOnly = readOnly;
  }

  /** @override */
  focus() {
    this.#input.focus();
  }

  /** @param {boolean} oneLine whether Enter ends what is typed */
  #listen(oneLine) {
    const input = this.#input;
    input.addEventListener("input", (event) => this.#typed(/** @type {InputEvent} */ (event)));
    input.addEventListener("compositionend", () => this.#typed(null));
    input.addEventListener("focus", () => this.focused(true));
    input.addEventListener("blur", () => this.focused(false));
    input.addEventListener("keydown", (event) => {
      if (oneLine && event.key === "Enter" && !event.isComposing) this.entered();
    });
  }

  /** @param {InputEvent | null} event null at the end of a composition */
  #typed(event) {
    const input = this.#input;
    if (input.value === "") this.#unmasked = false;
    if (!this.#unmasked && !event?.isComposing) {
      const forward = event?.inputType === "deleteContentForward";
      const [text, caret] = masked(this.#rules, input.value, input.selectionStart ?? input.value.length, forward);
      if (text !== input.value) {
        input.value = text;
        input.setSelectionRange(caret, caret);
      }
    }
    this.#drawBrand();
    if (this.#advice.objects && this.judgement.message === "") this.#advice.tell("");
    this.edited();
  }

  /** The kind of a card. It depends on the first digits, so no page is told. */
  #drawBrand() {
    this.#brand.textContent = this.#rules.validator === "card" && this.text !== "" ? brandOf(this.text).name : "";
  }

  /** @param {string} detail the autofill detail tokens of HTML, such as "cc-number" */
  #autofill(detail) {
    const known = autofillOf(detail) || (VALIDATORS[this.#rules.validator]?.[2] ?? "off");
    this.#input.setAttribute("autocomplete", known);
    this.#input.name = known;
  }

  /** @param {number | null} length characters */
  #limit(length) {
    if (length === null) this.#input.removeAttribute("maxlength");
    else this.#input.maxLength = length;
  }
}

/**
 * What a validator, or the browser's own rule for the type of field, has against a text.
 *
 * @param {string} validator
 * @param {HTMLInputElement} input
 * @returns {import("./field.js").Judgement} its flaw is the same for all that a validator objects to
 */
function judge(validator, input) {
  const known = VALIDATORS[validator];
  if (known !== undefined && input.value !== "") {
    const flaw = known[0](input.value, new Date());
    return flaw === null ? { flaw, message: "" } : { flaw: "patternMismatch", message: say(flaw, say(validator)) };
  }
  const { typeMismatch, badInput } = input.validity;
  if (!typeMismatch && !badInput) return { flaw: null, message: "" };
  const name = /^(email|url)$/.test(input.type) ? input.type : "value";
  return { flaw: typeMismatch ? "typeMismatch" : "badInput", message: say("wrong", say(name)) };
}
