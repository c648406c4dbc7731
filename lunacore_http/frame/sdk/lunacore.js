/**
 * The secure components, for the application's pages: <script type="module" src="https://tokenizer/sdk/lunacore.js">.
 */

import { loadByNeed } from "./add-ons.js";
import { SecureElement } from "./secure-element.js";
import { SecureField } from "./secure-field.js";
import { SecureInput } from "./secure-input.js";
import { SecureParagraph, SecureSpan } from "./secure-text.js";

/**
 * Define elements, unless somebody has done so.
 *
 * @param {Readonly<Record<string, CustomElementConstructor>>} components by name
 */
function define(components) {
  for (const [name, component] of Object.entries(components)) {
    if (customElements.get(name) === undefined) customElements.define(name, component);
  }
}

define({ "secure-input": SecureInput, "secure-paragraph": SecureParagraph, "secure-span": SecureSpan });
loadByNeed({
  "choices.js": ["secure-select", "secure-radio"],
  "copy.js": ["secure-copy"],
  "textarea.js": ["secure-textarea"],
  "download.js": ["secure-download"],
  "upload.js": ["secure-upload"],
  "viewer.js": ["secure-image", "secure-viewer"],
});

export { SecureElement, SecureField, SecureInput, SecureParagraph, SecureSpan, define };
