/**
 * Where the tokenizer is, and whom to tell that nobody is logged in: for all components below a provider.
 */

import { load, SecureElementError } from "@lunacore/elements";
import { createContext, createElement, useCallback, useContext, useEffect, useMemo } from "react";

/** @typedef {import("./index.js").LunaSecConfigContextProps} Configuration */

/** Components of a page fail together; what they fail of is told once in so many milliseconds. */
const ONCE_IN_MS = 1000;

/** The context of LunaDefend's React SDK; without a provider the page loads the components by itself. */
export const LunaSecConfigContext = createContext(/** @type {Configuration | null} */ (null));

/** When each handler was told of which failure. @type {WeakMap<Function, Map<string, number>>} */
const told = new WeakMap();

/** Failures to load that the console has. @type {WeakSet<Error>} */
const known = new WeakSet();

/**
 * The same context under plainer names.
 *
 * @param {import("./index.js").LunaCoreProviderProps} props
 */
export function LunaCoreProvider({ tokenizerUrl, authenticationErrorHandler, provider, nonce, children }) {
  const value = useMemo(
    () => ({ lunaSecDomain: tokenizerUrl, authenticationErrorHandler, provider, nonce }),
    [tokenizerUrl, authenticationErrorHandler, provider, nonce],
  );
  return createElement(LunaSecConfigContext.Provider, { value }, createElement(Loading, null), children);
}

/** Loads the components though none is shown yet. */
function Loading() {
  useConfiguration();
  return null;
}

/**
 * Load the components, if a provider says from where.
 *
 * @param {(error: SecureElementError) => void} [failed] told that they did not load; must stay the same
 * @returns {(error: SecureElementError) => void} tells the provider of a failure; stays the same as long as its handler does
 */
export function useConfiguration(failed) {
  const { lunaSecDomain, provider, nonce, authenticationErrorHandler: handler } = useContext(LunaSecConfigContext) ?? {};
  useEffect(() => {
    if (lunaSecDomain === undefined) return;
    let gone = false;
    load(lunaSecDomain, { provider, nonce }).catch((error) => {
      if (!known.has(error)) console.error(error.message);
      known.add(error);
      if (!gone) failed?.(error);
    });
    return () => {
      gone = true;
    };
  }, [lunaSecDomain, provider, nonce, failed]);
  return useCallback((error) => handler !== undefined && error.authentication && tellOnce(handler, error), [handler]);
}

/**
 * @param {(error: SecureElementError) => void} handler
 * @param {SecureElementError} error
 */
function tellOnce(handler, error) {
  const times = told.get(handler) ?? new Map();
  told.set(handler, times);
  const now = performance.now();
  if (now - (times.get(error.name) ?? -Infinity) < ONCE_IN_MS) return;
  times.set(error.name, now);
  handler(error);
}
