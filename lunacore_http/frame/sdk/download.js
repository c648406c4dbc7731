/**
 * <secure-download>: a button that saves the file of a token, under a name that the page does not know.
 */

import { SecureElement, define } from "./lunacore.js";

/** @typedef {import("./connection.js").Message} Message */

const SHEET = new CSSStyleSheet();
SHEET.replaceSync(`
  :host {
    inline-size: 16em; block-size: 2.25em; padding: 0.25em 0.6em; border: 1px solid; border-radius: 0.25em;
    background-color: ButtonFace; color: ButtonText; text-align: center;
  }
`);

export class SecureDownload extends SecureElement {
  static observedAttributes = ["token", "aria-label", "aria-labelledby", "disabled"];

  /** @override @returns {"download"} */
  get kind() {
    return "download";
  }

  /** @override */
  get document() {
    return "download";
  }

  /** @override */
  get rights() {
    return { ...super.rights, sandbox: "allow-downloads" };
  }

  /** @override */
  get sheets() {
    return [SHEET];
  }

  /** @override */
  get settings() {
    return { ...super.settings, disabled: this.hasAttribute("disabled") };
  }

  /** The token whose file is saved; empty if none. */
  get token() {
    return this.getAttribute("token") ?? "";
  }

  set token(token) {
    this.setAttribute("token", token);
  }

  get disabled() {
    return this.hasAttribute("disabled");
  }

  set disabled(disabled) {
    this.toggleAttribute("disabled", disabled);
  }

  /** @param {string} name */
  attributeChangedCallback(name) {
    if (name === "token") this.show(this.firstToken);
    else this.refresh();
  }

  /**
   * @override
   * @param {Message} report
   */
  hear(report) {
    super.hear(report);
    if (report.type === "focused" || report.type === "blurred") this.dispatchEvent(new FocusEvent(report.type === "focused" ? "focus" : "blur"));
  }
}

define({ "secure-download": SecureDownload });
