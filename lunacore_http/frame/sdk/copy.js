/**
 * <secure-copy>: copies the text of a token to the clipboard without showing it.
 */

import { SecureElement, define } from "./lunacore.js";

const SHEET = new CSSStyleSheet();
SHEET.replaceSync(`
  :host {
    inline-size: 6em; block-size: 2.25em; border: 1px solid; border-radius: 0.25em;
    background-color: ButtonFace; color: ButtonText; text-align: center;
  }
`);

export class SecureCopy extends SecureElement {
  static observedAttributes = ["token", "disabled", "aria-label", "aria-labelledby", "aria-description", "aria-describedby"];

  /** @override @returns {"copy"} */
  get kind() {
    return "copy";
  }

  /** @override */
  get document() {
    return "copy";
  }

  /** @override */
  get rights() {
    return { allow: "clipboard-write", sandbox: "" };
  }

  /** @override */
  get sheets() {
    return [SHEET];
  }

  /** @override */
  get settings() {
    return { ...super.settings, description: this.description, disabled: this.hasAttribute("disabled") };
  }

  /** @param {string} name */
  attributeChangedCallback(name) {
    if (name === "token") this.show(this.firstToken);
    else this.refresh();
  }

  /** The token whose text is copied; empty if none. */
  get token() {
    return this.getAttribute("token") ?? "";
  }

  set token(token) {
    this.setAttribute("token", token);
  }
}

define({ "secure-copy": SecureCopy });
