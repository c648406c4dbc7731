/**
 * What a component looks like on the page, for its inside to look the same. The frame checks every value by itself.
 */

const PROPERTIES = [
  "background-color",
  "caret-color",
  "color",
  "color-scheme",
  "font-family",
  "font-size",
  "font-style",
  "font-weight",
  "letter-spacing",
  "line-height",
  "padding-bottom",
  "padding-left",
  "padding-right",
  "padding-top",
  "text-align",
  "--lunacore-invalid-color",
  "--lunacore-placeholder-color",
];

/**
 * @param {Element} element
 * @returns {Record<string, string>}
 */
export function appearanceOf(element) {
  const computed = getComputedStyle(element);
  return Object.fromEntries(PROPERTIES.map((property) => [property, computed.getPropertyValue(property).slice(0, 500)]));
}

/**
 * Be told when the look of an element may have changed.
 *
 * @param {Element} element
 * @param {() => void} changed
 * @returns {() => void} ends it
 */
export function watchAppearance(element, changed) {
  const observer = new MutationObserver(changed);
  const attributes = { attributes: true, attributeFilter: ["class", "style", "data-theme"] };
  for (const watched of [element, document.documentElement, document.body]) observer.observe(watched, attributes);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", changed);
  // A look that changes by degrees has its last one at the end.
  element.addEventListener("transitionend", changed);
  return () => {
    observer.disconnect();
    scheme.removeEventListener("change", changed);
    element.removeEventListener("transitionend", changed);
  };
}
