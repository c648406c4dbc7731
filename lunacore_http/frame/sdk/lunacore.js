/**
 * The secure components, for the application's pages: <script type="module" src="https://tokenizer/sdk/lunacore.js">.
 */

import { SecureInput } from "./secure-input.js";
import { SecureParagraph, SecureSpan } from "./secure-text.js";

const COMPONENTS = { "secure-input": SecureInput, "secure-paragraph": SecureParagraph, "secure-span": SecureSpan };

for (const [name, component] of Object.entries(COMPONENTS)) {
  if (customElements.get(name) === undefined) customElements.define(name, component);
}

export { SecureInput, SecureParagraph, SecureSpan };
