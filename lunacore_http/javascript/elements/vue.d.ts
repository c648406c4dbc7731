/** The elements in Vue's templates: `import type {} from "@lunacore/elements/vue"`. */

import type { DefineComponent, HTMLAttributes } from "vue";
import type { SecureElementsAttributes } from "./index.js";

type Components = {
  [Tag in keyof SecureElementsAttributes]: DefineComponent<SecureElementsAttributes[Tag] & Omit<HTMLAttributes, keyof SecureElementsAttributes[Tag]>>;
};

declare module "vue" {
  interface GlobalComponents extends Components {}
}
