/**
 * A custom element as a component of React.
 *
 * React 18 sets only attributes of custom elements; React 19 sets properties where there are some. So all that differs goes past React: tokens
 * and types are set by an effect, and handlers are listeners. On a server, and while a page from one is taken over, they are attributes.
 */

import { SecureElementError } from "@lunacore/elements";
import {
  createElement,
  forwardRef,
  useCallback,
  useEffect,
  useImperativeHandle,
  useLayoutEffect,
  useReducer,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";
import { useConfiguration } from "./configuration.js";

/** @typedef {Record<string, any>} Props */
/** @typedef {HTMLElement & {token: string}} SecureElement */

// On a server effects do not run, and React 18 complains of this one.
const useEarlyEffect = typeof document === "undefined" ? useEffect : useLayoutEffect;

/** Attributes whose names in React are others. @type {Readonly<Record<string, string>>} */
const NAMES = {
  autoComplete: "autocomplete",
  autoFocus: "autofocus",
  className: "class",
  enterKeyHint: "enterkeyhint",
  inputMode: "inputmode",
  maxFiles: "max-files",
  maxLength: "maxlength",
  maxSize: "max-size",
  minLength: "minlength",
  readOnly: "readonly",
  tabIndex: "tabindex",
};

/** The handlers, by the element's event. @type {Readonly<Record<string, string>>} */
const HANDLERS = {
  blur: "onBlur",
  change: "onChange",
  error: "onError",
  focus: "onFocus",
  invalid: "onInvalid",
  progress: "onProgress",
  ready: "onReady",
  valid: "onValid",
};

/**
 * Props that are no attributes: they are the component's own, or what component libraries pass to whatever they show. That it is invalid the
 * element says by itself, inside.
 */
const OWN = new Set([
  ...Object.values(HANDLERS),
  "aria-invalid",
  "children",
  "defaultValue",
  "errorHandler",
  "onValidate",
  "token",
  "type",
  "value",
]);

/**
 * @param {string} name the component's
 * @param {string} tag the element's
 * @param {(props: Props) => Props} [prepared] what else is done with its props
 */
export function secureComponent(name, tag, prepared = (props) => props) {
  /**
   * @param {Props} given
   * @param {import("react").ForwardedRef<SecureElement>} ref
   */
  function Component(given, ref) {
    const props = prepared(given);
    const element = /** @type {import("react").MutableRefObject<SecureElement | null>} */ (useRef(null));
    const fromServer = useFromServer();
    useImperativeHandle(ref, () => /** @type {SecureElement} */ (element.current), []);
    useAttribute(element, "type", props.type);
    useToken(element, props);
    useHandlers(element, props);
    return createElement(tag, { ...attributesOf(props), ...fromServer(props), ref: element }, props.children);
  }
  Component.displayName = name;
  return forwardRef(Component);
}

/**
 * What is an attribute only in pages that come from a server. It stays what it was at first, so that React has nothing to change.
 *
 * @returns {(props: Props) => Props}
 */
function useFromServer() {
  const now = useSyncExternalStore(never, no, yes);
  const [fromServer] = useState(now);
  const kept = useRef(/** @type {Props | null} */ (null));
  return (props) => (fromServer ? (kept.current ??= { token: firstToken(props), type: props.type }) : {});
}

/** @param {Props} props */
function firstToken({ value, token, defaultValue }) {
  return (value ?? token ?? defaultValue) || undefined;
}

/**
 * @param {import("react").RefObject<SecureElement | null>} element
 * @param {Props} props
 */
function useToken(element, props) {
  const [turn, recheck] = useReducer((count) => count + 1, 0);
  const shown = useRef(/** @type {string | undefined} */ (undefined));
  const controlled = props.value !== undefined;
  useEarlyEffect(() => {
    const given = firstToken(props);
    const changed = given !== shown.current;
    shown.current = given;
    if (controlled || changed) hold(/** @type {SecureElement} */ (element.current), given, controlled);
  }, [controlled, props.value, props.token, turn]);
  useEarlyEffect(() => {
    if (!controlled) return;
    // As with every controlled field: what the page does not take over does not stay, and a reset form changes nothing.
    const later = () => setTimeout(recheck);
    const target = element.current;
    target?.addEventListener("change", recheck);
    document.addEventListener("reset", later);
    return () => {
      target?.removeEventListener("change", recheck);
      document.removeEventListener("reset", later);
    };
  }, [controlled]);
}

/**
 * Have an element hold a token, unless it does.
 *
 * @param {SecureElement} element
 * @param {string | undefined} token
 * @param {boolean} controlled
 */
function hold(element, token, controlled) {
  // Before its script has come, an element has no properties yet.
  const defined = element.token !== undefined;
  if (defined && element.token === (token ?? "")) return;
  if (defined && controlled) element.token = token ?? "";
  else setAttribute(element, "token", token);
}

/**
 * @param {import("react").RefObject<SecureElement | null>} element
 * @param {string} name
 * @param {string | undefined} value
 */
function useAttribute(element, name, value) {
  useEarlyEffect(() => setAttribute(/** @type {SecureElement} */ (element.current), name, value), [name, value]);
}

/**
 * @param {HTMLElement} element
 * @param {string} name
 * @param {string | undefined} value
 */
function setAttribute(element, name, value) {
  if (value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/**
 * @param {import("react").RefObject<SecureElement | null>} element
 * @param {Props} props
 */
function useHandlers(element, props) {
  const latest = useRef(props);
  const failed = useCallback((/** @type {Error} */ error) => latest.current.errorHandler?.(error), []);
  const tellProvider = useConfiguration(failed);
  useEarlyEffect(() => {
    latest.current = props;
  });
  useEarlyEffect(() => {
    const target = /** @type {SecureElement} */ (element.current);
    /** @param {Event} event */
    const hear = (event) => answer(event, latest.current, tellProvider);
    for (const type of Object.keys(HANDLERS)) target.addEventListener(type, hear);
    return () => {
      for (const type of Object.keys(HANDLERS)) target.removeEventListener(type, hear);
    };
  }, [tellProvider]);
}

/**
 * Call whatever handlers an event has.
 *
 * @param {Event} event
 * @param {Props} props
 * @param {(error: SecureElementError) => void} tellProvider
 */
function answer(event, props, tellProvider) {
  const { type } = event;
  // The element tells of focus within its frame; browsers tell of it a second time.
  if (event.isTrusted && (type === "focus" || type === "blur")) return;
  props[/** @type {string} */ (HANDLERS[type])]?.(event);
  if (type === "valid" || type === "invalid") props.onValidate?.(type === "valid");
  if (type !== "error") return;
  const error = new SecureElementError(/** @type {CustomEvent<{name: string}>} */ (event).detail.name);
  props.errorHandler?.(error);
  tellProvider(error);
}

/**
 * What React is given: strings, true for attributes that are there or not, and whatever else it knows of every element.
 *
 * @param {Props} props
 * @returns {Props}
 */
function attributesOf(props) {
  /** @type {Props} */
  const attributes = {};
  for (const [name, value] of Object.entries(props)) {
    if (!OWN.has(name)) attributes[NAMES[name] ?? name] = attributeValue(name, value);
  }
  return attributes;
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function attributeValue(name, value) {
  if (typeof value === "boolean") return /^(aria|data)-/.test(name) ? String(value) : value || undefined;
  // The names of LunaDefend's validators are in upper case.
  if (name === "validator") return String(value).toLowerCase();
  if (typeof value === "object" && name !== "style") return undefined;
  return value;
}

const never = () => () => {};
const no = () => false;
const yes = () => true;
