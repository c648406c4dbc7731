/**
 * <secure-select> and <secure-radio>: one of several, where which one is nobody's business; for forms the value is the token.
 */

import { SecureField, define } from "./lunacore.js";

/** @typedef {{value: string, label: string, disabled: boolean}} Option */

const MAX_OPTIONS = 500;
const MAX_TEXT = 200;

/** @abstract */
class SecureChoice extends SecureField {
  /** @override */
  static observedAttributes = [...super.observedAttributes, "options", "shuffle"];

  /** Those that a script gave. @type {Option[] | null} */
  #given = null;
  /** Those that the frame was told. */
  #told = "";
  #children = new MutationObserver(() => this.#renew());

  /** @override */
  get document() {
    return "choices";
  }

  /** @override */
  get lasting() {
    return ["options", "shuffle", "orientation"];
  }

  /** @override @returns {Record<string, unknown>} */
  get settings() {
    return { ...super.settings, options: this.options, shuffle: this.hasAttribute("shuffle") };
  }

  /**
   * What can be chosen: what a script gave, or the attribute `options`, or the `<option>` elements within.
   *
   * @returns {Option[]}
   */
  get options() {
    if (this.#given !== null) return this.#given;
    const attribute = this.getAttribute("options");
    return attribute === null ? [...this.querySelectorAll("option")].map(ofElement).slice(0, MAX_OPTIONS) : parsed(attribute);
  }

  set options(options) {
    this.#given = options.map(ofItem).slice(0, MAX_OPTIONS);
    this.#renew();
  }

  /** @override */
  connectedCallback() {
    this.takeProperties("options");
    this.#told = JSON.stringify(this.options);
    super.connectedCallback();
    this.#children.observe(this, { attributes: true, characterData: true, childList: true, subtree: true, attributeFilter: ["value", "label", "disabled"] });
  }

  /** @override */
  disconnectedCallback() {
    this.#children.disconnect();
    super.disconnectedCallback();
  }

  /** A frame keeps its options for life, or a page that takes one away would see whether it was the one. */
  #renew() {
    if (JSON.stringify(this.options) !== this.#told) this.reconnect();
  }
}

export class SecureSelect extends SecureChoice {
  /** @override */
  static observedAttributes = [...super.observedAttributes, "placeholder"];

  /** @override @returns {"select"} */
  get kind() {
    return "select";
  }

  /** @override */
  get settings() {
    return { ...super.settings, placeholder: (this.getAttribute("placeholder") ?? "").slice(0, MAX_TEXT) };
  }
}

export class SecureRadio extends SecureChoice {
  /** @override */
  static observedAttributes = [...super.observedAttributes, "orientation"];

  #size = new CSSStyleSheet();

  /** @override @returns {"radio"} */
  get kind() {
    return "radio";
  }

  /** @override */
  get sheets() {
    return [this.#size];
  }

  /** @override */
  get settings() {
    return { ...super.settings, horizontal: this.#horizontal };
  }

  /** @override */
  connectedCallback() {
    // As high as so many options, whichever is chosen; a style of the page goes before.
    const lines = this.#horizontal ? 1 : this.options.length;
    this.#size.replaceSync(`
      :host { display: block; inline-size: auto; block-size: calc(${lines} * 1.75lh + 0.5em); border: 0; background: none; color: inherit; }
      :host(:disabled) { background: none; }
    `);
    super.connectedCallback();
  }

  get #horizontal() {
    return this.getAttribute("orientation") === "horizontal";
  }
}

/**
 * @param {HTMLOptionElement} element
 * @returns {Option}
 */
function ofElement(element) {
  return { value: element.value.slice(0, MAX_TEXT), label: element.label.slice(0, MAX_TEXT), disabled: element.disabled };
}

/**
 * @param {unknown} item a text, or a pair of value and label, or an object with them
 * @returns {Option}
 */
function ofItem(item) {
  const [value, label, disabled] = Array.isArray(item)
    ? item
    : typeof item === "object" && item !== null && "value" in item
      ? [item.value, "label" in item ? item.label : item.value, "disabled" in item && item.disabled]
      : [item];
  return { value: String(value).slice(0, MAX_TEXT), label: String(label ?? value).slice(0, MAX_TEXT), disabled: disabled === true };
}

/** @param {string} attribute JSON */
function parsed(attribute) {
  try {
    return /** @type {unknown[]} */ (JSON.parse(attribute)).map(ofItem).slice(0, MAX_OPTIONS);
  } catch {
    console.error('LunaCore: the attribute options is no JSON array such as ["one", ["2", "two"]]');
    return [];
  }
}

define({ "secure-select": SecureSelect, "secure-radio": SecureRadio });
