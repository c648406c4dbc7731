/** The elements themselves in React's JSX: `import type {} from "@lunacore/elements/react"`. `@lunacore/react` has components. */

import type { DetailedHTMLProps, HTMLAttributes } from "react";
import type { SecureElementsAttributes } from "./index.js";

type Intrinsic = {
  [Tag in keyof SecureElementsAttributes]: DetailedHTMLProps<HTMLAttributes<HTMLElementTagNameMap[Tag]>, HTMLElementTagNameMap[Tag]> &
    SecureElementsAttributes[Tag] & { class?: string | undefined };
};

declare module "react" {
  namespace JSX {
    interface IntrinsicElements extends Intrinsic {}
  }
}
