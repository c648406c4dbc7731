/**
 * <secure-paragraph> and <secure-span>: the text of a token, shown inside the frame.
 */

import { SecureElement } from "./secure-element.js";

class SecureText extends SecureElement {
  static observedAttributes = ["token", "aria-label", "aria-labelledby", "placeholder", "reveal"];

  /** @override */
  get settings() {
    const placeholder = (this.getAttribute("placeholder") ?? "").slice(0, 200);
    return { ...super.settings, placeholder, reveal: this.getAttribute("reveal") === "click" };
  }

  /** @param {string} name */
  attributeChangedCallback(name) {
    if (name === "token") this.show(this.firstToken);
    else this.refresh();
  }

  /** The token whose text is shown; empty if none. */
  get token() {
    return this.getAttribute("token") ?? "";
  }

  set token(token) {
    this.setAttribute("token", token);
  }
}

export class SecureParagraph extends SecureText {
  /** @override @returns {"paragraph"} */
  get kind() {
    return "paragraph";
  }
}

export class SecureSpan extends SecureText {
  /** @override @returns {"span"} */
  get kind() {
    return "span";
  }
}
