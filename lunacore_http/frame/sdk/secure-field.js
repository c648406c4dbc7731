/**
 * What all fields share: form-associated elements whose value stays in their frame; for forms it is the token.
 */

import { SecureElement } from "./secure-element.js";
import { settleBeforeSubmit } from "./submission.js";

/** @typedef {import("./connection.js").Message} Message */

/** @abstract */
export class SecureField extends SecureElement {
  static formAssociated = true;
  static observedAttributes = [
    "token",
    "required",
    "readonly",
    "aria-label",
    "aria-labelledby",
    "aria-description",
    "aria-describedby",
  ];

  #internals = this.attachInternals();
  /** @type {string | null} */
  #token = null;
  /** The token to begin with at the next connection, where that is not the attribute's. @type {string | null | undefined} */
  #restored;
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

  /** @override */
  get firstToken() {
    return this.#restored === undefined ? super.firstToken : this.#restored;
  }

  /** @override */
  get label() {
    const labels = [...this.#internals.labels].map((label) => label.textContent?.trim() ?? "").join(" ");
    return super.label || labels.slice(0, 200);
  }

  /** @override */
  get sources() {
    return [...super.sources, ...this.#internals.labels].filter((source) => source instanceof Element);
  }

  /** @override @returns {Record<string, unknown>} */
  get settings() {
    return {
      ...super.settings,
      description: this.description,
      required: this.required,
      disabled: this.#disabled,
      readOnly: this.hasAttribute("readonly"),
    };
  }

  /** What of its settings the frame keeps for life: another value takes another frame. @returns {string[]} attributes */
  get lasting() {
    return [];
  }

  /** The token of what the field holds; empty while it holds nothing, or something that has none yet. */
  get token() {
    return this.#token ?? "";
  }

  /** Have the field hold the text of a token. */
  set token(token) {
    if (!this.framed) this.#restored = token || null;
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
    return this.getAttribute("type") ?? this.localName;
  }

  set type(type) {
    this.setAttribute("type", type);
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

  /**
   * What a form sends.
   *
   * @param {string | null} token of what the field holds
   * @returns {string | FormData | null}
   */
  formValueOf(token) {
    return token;
  }

  updateFormValue() {
    this.#internals.setFormValue(this.formValueOf(this.#token), this.#token);
  }

  /** @override */
  connectedCallback() {
    this.takeProperties("token", "value");
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
    else if (this.lasting.includes(name)) this.reconnect();
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
    this.updateFormValue();
    this.#mark("busy", false);
    this.#mark("invalid", false);
    this.#judge(token !== null, null);
  }

  /** @param {string | null} token */
  #change(token) {
    this.#token = token;
    this.updateFormValue();
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
    if (this.required && !this.#filled) this.#internals.setValidity({ valueMissing: true }, browsersWords({ required: true }), this.anchor);
    else if (this.#flaw !== null) this.#internals.setValidity({ [this.#flaw]: true }, browsersWords({ value: "-", pattern: "x" }), this.anchor);
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

/**
 * What the browser itself says, in its own language, of a field with such properties.
 *
 * @param {{required?: boolean, value?: string, pattern?: string}} properties
 */
function browsersWords(properties) {
  return Object.assign(document.createElement("input"), properties).validationMessage;
}
