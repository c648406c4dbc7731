/**
 * <secure-image> and <secure-viewer>: the file of a token, shown inside the frame.
 */

import { SecureElement, define } from "./lunacore.js";

const SHEET = new CSSStyleSheet();
SHEET.replaceSync(`
  :host { display: block; block-size: 20em; }
  :host(secure-image) { display: inline-block; inline-size: 12em; block-size: 12em; }
`);

class SecureFile extends SecureElement {
  static observedAttributes = ["token", "aria-label", "aria-labelledby", "placeholder", "fit"];

  /** @override */
  get document() {
    return "viewer";
  }

  /** @override */
  get sheets() {
    return [SHEET];
  }

  /** @override */
  get settings() {
    return { ...super.settings, placeholder: (this.getAttribute("placeholder") ?? "").slice(0, 200) };
  }

  /** The token whose file is shown; empty if none. */
  get token() {
    return this.getAttribute("token") ?? "";
  }

  set token(token) {
    this.setAttribute("token", token);
  }

  /** @override */
  connectedCallback() {
    super.connectedCallback();
    // What has no role cannot have a name.
    if (!this.hasAttribute("role")) this.setAttribute("role", "group");
  }

  /** @param {string} name */
  attributeChangedCallback(name) {
    if (name === "token") this.show(this.firstToken);
    else this.refresh();
  }
}

export class SecureImage extends SecureFile {
  /** @override @returns {"image"} */
  get kind() {
    return "image";
  }
}

export class SecureViewer extends SecureFile {
  /** @override @returns {"viewer"} */
  get kind() {
    return "viewer";
  }
}

define({ "secure-image": SecureImage, "secure-viewer": SecureViewer });
