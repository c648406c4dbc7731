/**
 * <secure-textarea>: a field for several lines whose value stays in its frame.
 */

import { SecureInput, define } from "./lunacore.js";

const MAX_ROWS = 500;

const SHEET = new CSSStyleSheet();
// An element that can be resized must be one that could scroll.
SHEET.replaceSync(":host { overflow: hidden; resize: vertical; min-block-size: 2.25em; }");

export class SecureTextarea extends SecureInput {
  /** @override */
  static observedAttributes = [
    "token",
    "required",
    "readonly",
    "aria-label",
    "aria-labelledby",
    "aria-description",
    "aria-describedby",
    "placeholder",
    "maxlength",
    "minlength",
    "autocomplete",
    "inputmode",
    "enterkeyhint",
    "wrap",
    "rows",
    "cols",
  ];

  #size = new CSSStyleSheet();

  /** @override @returns {"textarea"} */
  get kind() {
    return "textarea";
  }

  /** @override */
  get sheets() {
    return [SHEET, this.#size];
  }

  /** @override */
  get lasting() {
    return ["minlength"];
  }

  /** @override @returns {Record<string, unknown>} */
  get settings() {
    const wrap = this.getAttribute("wrap")?.toLowerCase() === "off" ? "off" : "soft";
    return { ...super.settings, type: "text", validator: "", mask: "", minLength: this.count("minlength") ?? 0, wrap };
  }

  /** @override */
  connectedCallback() {
    this.#resize();
    super.connectedCallback();
  }

  /** @override @param {string} name */
  attributeChangedCallback(name) {
    if (name === "rows" || name === "cols") this.#resize();
    else super.attributeChangedCallback(name);
  }

  /** As high and as wide as so much text; a style of the page goes before. */
  #resize() {
    const rows = Math.min(this.count("rows") || 2, MAX_ROWS);
    const cols = Math.min(this.count("cols") || 0, MAX_ROWS);
    const wide = cols ? `inline-size: calc(${cols}ch + 2em + 2px);` : "";
    this.#size.replaceSync(`:host { block-size: calc(${rows}lh + 1.8em + 2px); ${wide} }`);
  }
}

define({ "secure-textarea": SecureTextarea });
