/**
 * One of several: the inside of <secure-select> and <secure-radio>.
 *
 * Which one it is the page is told neither when it is chosen nor when it is kept: fields report that something is there, and its token
 * when they are left. Options stay those of the first settings: a page that takes one away would see whether it was the one.
 */

import { Advice } from "./advice.js";
import { Field } from "./field.js";
import { begin } from "./inside.js";
import { say, teach } from "./texts.js";

/** @typedef {import("./link.js").Link} Link */
/** @typedef {{value: string, label: string, disabled: boolean}} Choice */

teach({ choose: "Choose …" });

/** @abstract */
class ChoiceField extends Field {
  /** @type {HTMLElement} */
  control;
  #advice;
  #built = false;
  /** Whether a person may change it. */
  #locked = false;

  /**
   * @param {Link} link
   * @param {string} kind
   * @param {HTMLElement} control
   */
  constructor(link, kind, control) {
    super(link, kind);
    this.control = control;
    document.body.prepend(control);
    this.#advice = new Advice(control);
    control.addEventListener("focusin", (event) => this.#moved(event, true));
    control.addEventListener("focusout", (event) => this.#moved(event, false));
    control.addEventListener("input", () => {
      if (this.text !== "") this.advise("");
      this.edited();
    });
    for (const type of ["mousedown", "keydown", "click"]) control.addEventListener(type, (event) => this.#hold(event), true);
  }

  /** Make the options. @param {Choice[]} _options @abstract */
  build(_options) {}

  /** @override @param {Record<string, any>} settings */
  set(settings) {
    const { options = [], shuffle = false } = settings;
    const first = !this.#built;
    this.#built = true;
    if (first) this.build(shuffle ? shuffled(options) : options);
    if ("label" in settings) this.control.setAttribute("aria-label", settings.label);
    if ("description" in settings) this.#advice.describe(settings.description);
    if ("required" in settings) this.control.setAttribute("aria-required", String(settings.required));
    super.set(settings);
  }

  /** @override @param {string} message */
  advise(message) {
    this.#advice.tell(message);
  }

  /** @override @param {{disabled: boolean, readOnly: boolean, busy: boolean}} how */
  allow({ disabled, readOnly, busy }) {
    this.#locked = readOnly;
    this.control.setAttribute("aria-busy", String(busy));
    this.control.setAttribute("aria-readonly", String(readOnly));
    for (const one of this.control.matches("select") ? [this.control] : this.control.querySelectorAll("input"))
      one.toggleAttribute("disabled", disabled || one.matches("[data-off]"));
  }

  /** @param {Event} event that would change a field which is only to be read */
  #hold(event) {
    if (this.#locked && !(event instanceof KeyboardEvent && event.key === "Tab")) event.preventDefault();
  }

  /**
   * @param {FocusEvent} event
   * @param {boolean} focused
   */
  #moved(event, focused) {
    // From one option to another is no news.
    if (!(event.relatedTarget instanceof Node && this.control.contains(event.relatedTarget))) this.focused(focused);
  }
}

class Select extends ChoiceField {
  /** @type {HTMLSelectElement} */
  #select;
  /** What stands for no choice, where the page has none that does. */
  #none = new Option("", "");
  /** A value that was kept and is not among the options. @type {HTMLOptionElement | null} */
  #other = null;

  /** @param {Link} link */
  constructor(link) {
    const select = document.createElement("select");
    super(link, "select", select);
    this.#select = select;
    select.append(this.#none);
  }

  /** @override @param {Choice[]} options */
  build(options) {
    if (options.some((one) => one.value === "")) this.#none.remove();
    for (const { value, label, disabled } of options) {
      const option = new Option(label, value);
      option.disabled = disabled;
      this.#select.append(option);
    }
    this.fill("");
  }

  /** @override @param {Record<string, any>} settings */
  set(settings) {
    super.set(settings);
    this.#none.textContent = this.settings.placeholder || say("choose");
  }

  /** @override */
  get text() {
    return this.#select.value;
  }

  /** @override @param {string} text */
  fill(text) {
    this.#other?.remove();
    this.#other = null;
    this.#select.value = text;
    if (this.#select.value === text) return;
    this.#other = new Option(text, text);
    this.#select.append(this.#other);
    this.#select.value = text;
  }

  /** @override */
  focus() {
    this.#select.focus();
  }
}

class Radio extends ChoiceField {
  /** A value that was kept and is not among the options. @type {HTMLElement | null} */
  #other = null;
  #value = "";

  /** @param {Link} link */
  constructor(link) {
    const group = document.createElement("div");
    super(link, "radio", group);
    group.setAttribute("role", "radiogroup");
    group.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.entered();
    });
    // A press beside the circle would take the focus away for a moment, and the field for left.
    group.addEventListener("mousedown", (event) => event.preventDefault());
    group.addEventListener("click", (event) => {
      const radio = event.target instanceof Element ? event.target.closest("label")?.querySelector("input") : null;
      if (radio && !radio.disabled) radio.focus();
    });
  }

  /** @override @param {Choice[]} options */
  build(options) {
    this.control.append(...options.map((one) => radioOf(one)));
    this.fill(this.#value);
  }

  /** @override @param {Record<string, any>} settings */
  set(settings) {
    if ("horizontal" in settings) this.control.classList.toggle("horizontal", settings.horizontal);
    super.set(settings);
  }

  /** @override */
  get text() {
    return this.#radios.find((one) => one.checked)?.value ?? "";
  }

  /** @override @param {string} text */
  fill(text) {
    this.#value = text;
    this.#other?.remove();
    this.#other = null;
    for (const one of this.#radios) one.checked = text !== "" && one.value === text;
    if (text === "" || this.text === text) return;
    this.#other = radioOf({ value: text, label: text, disabled: false });
    this.control.append(this.#other);
    for (const one of this.#radios) one.checked = one.value === text;
  }

  /** @override */
  focus() {
    (this.#radios.find((one) => one.checked) ?? this.#radios.find((one) => !one.disabled))?.focus();
  }

  get #radios() {
    return [...this.control.querySelectorAll("input")];
  }
}

/** @param {Choice} option */
function radioOf({ value, label, disabled }) {
  const radio = Object.assign(document.createElement("input"), { type: "radio", name: "choice", value, disabled });
  radio.toggleAttribute("data-off", disabled);
  const text = document.createElement("span");
  text.textContent = label;
  const made = document.createElement("label");
  made.append(radio, text);
  return made;
}

/**
 * In an order that nobody knows, so that where a pointer is does not tell what it is at.
 *
 * @template T
 * @param {readonly T[]} items
 */
function shuffled(items) {
  const keys = crypto.getRandomValues(new Uint32Array(items.length));
  return items.map((item, place) => ({ item, key: keys[place] ?? 0 })).sort((one, other) => one.key - other.key).map(({ item }) => item);
}

begin({ select: (link) => new Select(link), radio: (link) => new Radio(link) });
