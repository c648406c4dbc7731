/**
 * <secure-input>: a text field whose value stays in its frame; and what other fields for text have in common with it.
 */

import { SecureField } from "./secure-field.js";

const TYPES = ["text", "email", "tel", "url", "search", "password"];
const VALIDATORS = ["", "card", "expiry", "cvc", "ssn", "ein", "email", "phone", "iban", "date"];
const MASK = /^(none|[9aAxX ().+:/-]{0,64})$/;
const MAX_PLACEHOLDER = 200;
const MAX_LENGTH = 1 << 20;

export class SecureInput extends SecureField {
  /** @override */
  static observedAttributes = [
    ...super.observedAttributes,
    "type",
    "placeholder",
    "maxlength",
    "autocomplete",
    "inputmode",
    "enterkeyhint",
    "validator",
    "mask",
  ];

  /** @override @returns {import("./secure-element.js").Kind} */
  get kind() {
    return "input";
  }

  /** @override */
  get lasting() {
    return ["validator", "mask"];
  }

  /** @override */
  get label() {
    return super.label || this.#placeholder;
  }

  /** @override @returns {Record<string, unknown>} */
  get settings() {
    const type = this.getAttribute("type")?.toLowerCase() ?? "";
    const autocomplete = (this.getAttribute("autocomplete") ?? "").toLowerCase();
    return {
      ...super.settings,
      placeholder: this.#placeholder,
      type: TYPES.includes(type) ? type : "text",
      autocomplete: /^[a-z0-9 -]{0,100}$/.test(autocomplete) ? autocomplete : "",
      maxLength: this.count("maxlength"),
      inputMode: this.#word("inputmode"),
      enterKeyHint: this.#word("enterkeyhint"),
      validator: this.#known("validator", (name) => VALIDATORS.includes(name)),
      mask: this.#known("mask", (mask) => MASK.test(mask)),
    };
  }

  get #placeholder() {
    return (this.getAttribute("placeholder") ?? "").slice(0, MAX_PLACEHOLDER);
  }

  /** An attribute that is one word, of which browsers know some. @param {string} name */
  #word(name) {
    return /^[a-z]{0,8}$/.exec((this.getAttribute(name) ?? "").toLowerCase())?.[0] ?? "";
  }

  /**
   * An attribute that is a count.
   *
   * @param {string} name
   * @returns {number | null} null if it is none
   */
  count(name) {
    const count = Number.parseInt(this.getAttribute(name) ?? "", 10);
    return count >= 0 ? Math.min(count, MAX_LENGTH) : null;
  }

  /**
   * An attribute whose value is one that the frame knows.
   *
   * @param {string} name
   * @param {(value: string) => boolean} knows
   */
  #known(name, knows) {
    const value = this.getAttribute(name) ?? "";
    if (knows(value)) return value;
    console.error(`LunaCore: ${name}="${value}" is unknown and has no effect`);
    return "";
  }
}
