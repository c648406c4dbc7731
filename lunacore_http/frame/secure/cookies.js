/**
 * Whether the browser keeps the tokenizer's cookies here, found out before a session is asked for in vain.
 */

/** How the tokenizer sets its cookies, by its setting `sessions.cookie`. @type {Readonly<Record<string, string>>} */
const ATTRIBUTES = { "same-site": "; SameSite=Lax", "cross-site": "; SameSite=None; Secure; Partitioned" };

/**
 * Why a session would not stay.
 *
 * @param {string} setting the tokenizer's `sessions.cookie`
 * @returns {string | null} the name of the failure, or null if there is none
 */
export function cookieFailure(setting) {
  if (keeps(setting)) return null;
  return keeps("cross-site") ? "crossSite" : "cookiesBlocked";
}

/** @param {string} setting */
function keeps(setting) {
  const cookie = "lunacore_probe=1";
  const rest = `; Path=/frame${ATTRIBUTES[setting] ?? ""}`;
  document.cookie = `${cookie}${rest}; Max-Age=60`;
  const kept = document.cookie.includes(cookie);
  document.cookie = `${cookie}${rest}; Max-Age=0`;
  return kept;
}
