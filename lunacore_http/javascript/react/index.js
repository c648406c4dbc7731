"use client";

/**
 * The secure components for React, under the names that LunaDefend's React SDK has. Each is the custom element of that name with React's
 * manners: props, refs, controlled values, rendering on a server. It works with React 18 and 19.
 */

import { createElement, forwardRef } from "react";
import { secureComponent } from "./secure-component.js";

export { LunaCoreProvider, LunaSecConfigContext } from "./configuration.js";
export { SecureElementError as LunaSecError, SecureElementError } from "@lunacore/elements";

/** @typedef {Record<string, any>} Props */

export const SecureInput = secureComponent("SecureInput", "secure-input", asField);
export const SecureTextArea = secureComponent("SecureTextArea", "secure-textarea", asField);
export const SecureSelect = secureComponent("SecureSelect", "secure-select", withOptions);
export const SecureRadio = secureComponent("SecureRadio", "secure-radio", withOptions);
export const SecureUpload = secureComponent("SecureUpload", "secure-upload", withTokens);
export const SecureParagraph = secureComponent("SecureParagraph", "secure-paragraph", asGroup);
export const SecureSpan = secureComponent("SecureSpan", "secure-span", asGroup);
export const SecureCopy = secureComponent("SecureCopy", "secure-copy", asGroup);
export const SecureDownload = secureComponent("SecureDownload", "secure-download", asGroup);
export const SecureImage = secureComponent("SecureImage", "secure-image", asGroup);
export const SecureViewer = secureComponent("SecureViewer", "secure-viewer", asGroup);

/** A form. That `onSubmit` is called only when every secure field in it has its token is what the elements themselves see to. */
export const SecureForm = forwardRef(
  /**
   * @param {import("react").ComponentPropsWithoutRef<"form">} props
   * @param {import("react").ForwardedRef<HTMLFormElement>} ref
   */
  function SecureForm(props, ref) {
    return createElement("form", { ...props, ref });
  },
);

/**
 * The role that an element gives itself, so that a page from a server has it too.
 *
 * @param {Props} props
 */
function asGroup(props) {
  return { role: "group", ...props };
}

/**
 * The same of fields, which have it if no `<label>` is their name.
 *
 * @param {Props} props
 */
function asField(props) {
  return props["aria-label"] === undefined && props["aria-labelledby"] === undefined ? props : asGroup(props);
}

/**
 * A list of options as the `<option>` elements that the element takes as well, on a server too.
 *
 * @param {Props} props
 */
function withOptions({ options, ...given }) {
  const props = asField(given);
  if (options === undefined) return props;
  const items = options.map((/** @type {any} */ one) => (typeof one === "string" ? { value: one, label: one } : one));
  return { ...props, children: items.map(({ value, label, disabled }) => createElement("option", { key: value, value, disabled }, label ?? value)) };
}

/**
 * Files have several tokens: the element's `token` is all of them, with spaces between.
 *
 * @param {Props} props
 */
function withTokens({ tokens, fileTokens = tokens, filetokens = fileTokens, onTokenChange, ...props }) {
  /** @param {CustomEvent<{token: string}>} event */
  function onChange(event) {
    props.onChange?.(event);
    onTokenChange?.(event.detail.token.split(" ").filter(Boolean));
  }
  return { multiple: true, ...asField(props), token: filetokens?.join(" ") ?? props.token, onChange };
}
