/**
 * <secure-input>: a text field whose value stays in its frame; for forms its value is the token.
 */

import { SecureElement } from "./secure-element.js";
import { settleBeforeSubmit } from "./submission.js";

/** @typedef {import("./connection.js").Message} Message */

const TYPES = ["text", "email", "tel", "url", "search", "password"];
const VALIDATORS = ["", "card", "expiry", "cvc", "ssn", "ein", "email", "phone", "iban", "date"];
const MASK = /^(none|[9aAxX ().+:/-]{0,64})$/;
const MAX_PLACEHOLDER = 200;
const MAX_LENGTH = 1 << 20;
const MISSING = "Please fill out this field.";
/** @type {Readonly<Record<string, string>>} */
const FLAWS = {
  typeMismatch: "Please enter a valid value.",
  patternMismatch: "Please enter a valid value.",
  badInput: "Please enter a valid value.",
};

export class SecureInput extends SecureElement {
  static formAssociated = true;
  static observedAttributes = [
    "token",
    "type",
    "placeholder",
    "maxlength",
    "autocomplete",
    "required",
    "readonly",
    "aria-label",
    "aria-labelledby",
    "aria-description",
    "aria-describedby",
    "validator",
    "mask",
  ];

  #internals = this.attachInternals();
  /** @type {string | null} */
  #token = null;
  /** The token that a connected frame was told to hold, where that is not the attribute's. @type {string | null} */
  #restored = null;
  #filled = false;
  /** @type {string | null} */
  #flaw = null;
  #custom = "";
  #disabled = false;
  #requests = 0;
  /** @type {Map<number, {resolve: (token: string | null) => void, reject: (error: Error) => void}>} */
  #commits = new Map();

  constructor() {
    super();
    // Whoever finds it invalid has the person told inside, where there is more to say.
    this.addEventListener("invalid", () => {
      this.#mark("invalid", true);
      this.order({ type: "judge" });
    });
  }

  /** @override @returns {"input"} */
  get kind() {
    return "input";
  }

  /** @override */
  get firstToken() {
    return this.#restored ?? super.firstToken;
  }

  /** @override */
  get label() {
    const labels = [...this.#internals.labels].map((label) => label.textContent?.trim() ?? "").join(" ");
    return super.label || labels.slice(0, 200) || (this.getAttribute("placeholder") ?? "").slice(0, 200);
  }

  /** @override */
  get sources() {
    return [...super.sources, ...this.#internals.labels].filter((source) => source instanceof Element);
  }

  /** @override */
  get settings() {
    const type = this.getAttribute("type")?.toLowerCase() ?? "";
    const length = Number.parseInt(this.getAttribute("maxlength") ?? "", 10);
    const autocomplete = (this.getAttribute("autocomplete") ?? "").toLowerCase();
    return {
      label: this.label,
      description: this.description,
      placeholder: (this.getAttribute("placeholder") ?? "").slice(0, MAX_PLACEHOLDER),
      type: TYPES.includes(type) ? type : "text",
      autocomplete: /^[a-z0-9 -]{0,100}$/.test(autocomplete) ? autocomplete : "",
      maxLength: length >= 0 ? Math.min(length, MAX_LENGTH) : null,
      required: this.required,
      disabled: this.#disabled,
      readOnly: this.hasAttribute("readonly"),
      validator: this.#known("validator", (name) => VALIDATORS.includes(name)),
      mask: this.#known("mask", (mask) => MASK.test(mask)),
    };
  }

  /** The token of what the field holds; empty while it holds nothing, or something that has none yet. */
  get token() {
    return this.#token ?? "";
  }

  /** Have the field hold the text of a token. */
  set token(token) {
    this.#hold(token || null);
    this.show(token || null);
  }

  /** The same as `token`: what a form sends. */
  get value() {
    return this.token;
  }

  set value(token) {
    this.token = token;
  }

  get name() {
    return this.getAttribute("name") ?? "";
  }

  set name(name) {
    this.setAttribute("name", name);
  }

  get type() {
    return "secure-input";
  }

  get required() {
    return this.hasAttribute("required");
  }

  set required(required) {
    this.toggleAttribute("required", required);
  }

  get disabled() {
    return this.hasAttribute("disabled");
  }

  set disabled(disabled) {
    this.toggleAttribute("disabled", disabled);
  }

  get form() {
    return this.#internals.form;
  }

  get labels() {
    return this.#internals.labels;
  }

  get validity() {
    return this.#internals.validity;
  }

  get validationMessage() {
    return this.#internals.validationMessage;
  }

  get willValidate() {
    return this.#internals.willValidate;
  }

  checkValidity() {
    return this.#internals.checkValidity();
  }

  /** @param {string} message as for `<input>`: why the page finds it invalid; empty if it does not */
  setCustomValidity(message) {
    this.#custom = String(message);
    this.#validate();
  }

  reportValidity() {
    return this.#internals.reportValidity();
  }

  /**
   * See that what the field holds has a token.
   *
   * @returns {Promise<string | null>} null if the field is empty
   * @throws {Error} whose `name` is the failure's; the event "error" tells it as well
   */
  settle() {
    if (!this.isConnected || this.#disabled) return Promise.resolve(this.#token);
    const request = this.#requests++;
    return new Promise((resolve, reject) => {
      this.#commits.set(request, { resolve, reject });
      this.order({ type: "commit", request });
    });
  }

  /** @override */
  connectedCallback() {
    this.#hold(this.firstToken);
    super.connectedCallback();
    settleBeforeSubmit(this.ownerDocument);
  }

  /** @override */
  disconnectedCallback() {
    // The frame goes with what was typed into it; what has a token comes back when the element does.
    this.#restored = this.#token;
    this.#rejectCommits("frameUnavailable");
    super.disconnectedCallback();
  }

  /** @param {string} name */
  attributeChangedCallback(name) {
    if (!this.isConnected) return;
    if (name === "token") this.token = this.getAttribute("token") ?? "";
    // A frame keeps its rules for life.
    else if (name === "validator" || name === "mask") this.reconnect();
    else this.refresh();
    this.#validate();
  }

  formResetCallback() {
    this.token = this.getAttribute("token") ?? "";
  }

  /** @param {boolean} disabled */
  formDisabledCallback(disabled) {
    this.#disabled = disabled;
    this.refresh();
  }

  /** @param {string | File | FormData | null} state what the browser kept of `setFormValue` */
  formStateRestoreCallback(state) {
    if (typeof state !== "string" || state === this.#token) return;
    this.#restored = state;
    this.token = state;
  }

  /**
   * @override
   * @param {Message} report
   */
  hear(report) {
    super.hear(report);
    if (report.type === "state" && this.isCurrent(report)) this.#judged(report);
    if (report.type === "keeping" && this.isCurrent(report)) this.#progress();
    if (report.type === "token" && this.isCurrent(report)) this.#change(report.token);
    if (report.type === "committed") this.#committed(report.request, report.token);
    if (report.type === "failed") this.#failed(report.name, report.request);
    if (report.type === "focused") this.#focus(true);
    if (report.type === "blurred") this.#focus(false);
    if (report.type === "entered") this.#submitImplicitly();
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

  /**
   * @param {string} name
   * @param {number | null} request
   */
  #failed(name, request) {
    this.#mark("busy", false);
    this.#rejectCommits(name, request);
  }

  #progress() {
    this.#mark("busy", true);
    this.dispatchEvent(new Event("progress"));
  }

  /** @param {Message} report */
  #judged({ filled, flaw, judged }) {
    this.#judge(filled, flaw);
    // What does not pass has the browser send "invalid".
    if (judged && this.checkValidity()) this.dispatchEvent(new Event("valid"));
  }

  /** @param {string | null} token */
  #hold(token) {
    this.#token = token;
    this.#internals.setFormValue(token);
    this.#mark("busy", false);
    this.#mark("invalid", false);
    this.#judge(token !== null, null);
  }

  /** @param {string | null} token */
  #change(token) {
    this.#token = token;
    this.#internals.setFormValue(token);
    this.#mark("busy", false);
    this.dispatchEvent(new CustomEvent("change", { bubbles: true, detail: { token: token ?? "" } }));
  }

  /**
   * @param {number} request
   * @param {string | null} token
   */
  #committed(request, token) {
    this.#commits.get(request)?.resolve(token);
    this.#commits.delete(request);
  }

  /**
   * @param {string} name
   * @param {number | null} [only] this one, or all
   */
  #rejectCommits(name, only = null) {
    for (const [request, waiting] of this.#commits) {
      if (only !== null && only !== request) continue;
      waiting.reject(Object.assign(new Error("the value could not be kept"), { name }));
      this.#commits.delete(request);
    }
  }

  /**
   * A page cannot see by itself that the focus is within the frame: `:focus` does not match.
   *
   * @param {boolean} focused
   */
  #focus(focused) {
    this.#mark("focused", focused);
    this.dispatchEvent(new FocusEvent(focused ? "focus" : "blur"));
  }

  /**
   * @param {string} state for the page's `:state()`
   * @param {boolean} on
   */
  #mark(state, on) {
    if (on) this.#internals.states.add(state);
    else this.#internals.states.delete(state);
    this.redraw();
  }

  /**
   * @param {boolean} filled
   * @param {string | null} flaw
   */
  #judge(filled, flaw) {
    this.#filled = filled;
    this.#flaw = flaw;
    this.#mark("filled", filled);
    this.#validate();
  }

  #validate() {
    if (this.required && !this.#filled) this.#internals.setValidity({ valueMissing: true }, MISSING, this.anchor);
    else if (this.#flaw !== null) this.#internals.setValidity({ [this.#flaw]: true }, FLAWS[this.#flaw], this.anchor);
    else if (this.#custom !== "") this.#internals.setValidity({ customError: true }, this.#custom, this.anchor);
    else this.#internals.setValidity({});
    if (this.validity.valid) this.#mark("invalid", false);
  }

  /** Enter submits, as HTML says: through the form's first submit button, if it has one. */
  #submitImplicitly() {
    const form = this.form;
    if (form === null) return;
    const button = [...form.elements].find(
      (element) => element.matches("button:not([type]), button[type=submit], input[type=submit], input[type=image]"),
    );
    if (button === undefined) form.requestSubmit();
    else /** @type {HTMLElement} */ (button).click();
  }
}
