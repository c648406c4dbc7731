/**
 * The look that a page may give an element: a list of properties, each value checked, set through CSSOM and never as text.
 */

const PROPERTIES = new Set([
  "background-color",
  "border-radius",
  "caret-color",
  "color",
  "color-scheme",
  "font-family",
  "font-size",
  "font-style",
  "font-weight",
  "letter-spacing",
  "line-height",
  "padding",
  "padding-bottom",
  "padding-left",
  "padding-right",
  "padding-top",
  "text-align",
  "--lunacore-invalid-color",
  "--lunacore-placeholder-color",
]);

// Colours, lengths, keywords and lists of them. No escapes, blocks, comments, strings or at-rules.
const PLAIN = /^[a-zA-Z0-9 #%.,()/+-]{1,200}$/;
const FUNCTIONS = /([a-zA-Z-]*)\(/g;
const HARMLESS_FUNCTIONS = new Set(["rgb", "rgba", "hsl", "hsla", "hwb", "lab", "lch", "oklab", "oklch", "color", "calc", "light-dark"]);

// Families that systems bring along; besides them those of `frame.fonts`, which stand in our style sheet.
const FAMILIES = new Set([
  "arial", "avenir", "calibri", "cambria", "cantarell", "consolas", "courier", "courier new", "cursive", "dejavu sans",
  "dejavu sans mono", "dejavu serif", "fantasy", "georgia", "helvetica", "helvetica neue", "inter", "liberation mono",
  "liberation sans", "liberation serif", "menlo", "monaco", "monospace", "noto sans", "noto serif", "open sans", "oxygen", "roboto",
  "sans-serif", "segoe ui", "serif", "sfmono-regular", "system-ui", "tahoma", "times", "times new roman", "trebuchet ms",
  "ubuntu", "ui-monospace", "ui-rounded", "ui-sans-serif", "ui-serif", "verdana", "-apple-system", "blinkmacsystemfont",
]);

/**
 * Give the document the look; what is not allowed is left out.
 *
 * @param {Readonly<Record<string, string>>} style
 */
export function applyStyle(style) {
  for (const [property, value] of Object.entries(style)) {
    const target = property === "color-scheme" ? document.documentElement : document.body;
    const allowed = allowedValue(property, value.trim());
    if (allowed !== null) target.style.setProperty(property, allowed);
    else if (value === "") target.style.removeProperty(property);
  }
}

/**
 * The part of a value that is allowed.
 *
 * @param {string} property
 * @param {string} value
 * @returns {string | null} null if none is
 */
export function allowedValue(property, value) {
  if (!PROPERTIES.has(property)) return null;
  if (property === "font-family") return families(value);
  if (!PLAIN.test(value)) return null;
  const functions = [...value.matchAll(FUNCTIONS)].map((found) => found[1]?.toLowerCase() ?? "");
  return functions.every((name) => name === "" || HARMLESS_FUNCTIONS.has(name)) ? value : null;
}

function ownFamilies() {
  return [...document.fonts].map((face) => face.family.replaceAll('"', "").toLowerCase());
}

/** @param {string} value */
function families(value) {
  const known = value
    .split(",")
    .map((family) => family.trim().replace(/^(["'])(.*)\1$/, "$2").toLowerCase())
    .filter((family) => FAMILIES.has(family) || ownFamilies().includes(family));
  return known.length > 0 ? known.map((family) => (family.includes(" ") ? `"${family}"` : family)).join(", ") : null;
}
