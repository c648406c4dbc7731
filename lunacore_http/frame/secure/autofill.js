/**
 * What browsers may be asked to fill in: the detail tokens of the HTML Standard ("Autofill"), and no other.
 */

const GROUPS = /^(section-[a-z0-9-]+|shipping|billing|home|work|mobile|fax|pager|webauthn)$/;
const FIELDS =
  /^(on|off|((given|additional|family)-)?name|honorific-(pre|suf)fix|nickname|username|(new|current)-password|one-time-code|organization(-title)?|street-address|address-(line[123]|level[1-4])|country(-name)?|postal-code|cc-((given-|additional-|family-)?name|number|exp(-month|-year)?|csc|type)|transaction-(currency|amount)|language|bday(-day|-month|-year)?|sex|url|photo|tel(-country-code|-national|-area-code|-local(-prefix|-suffix)?|-extension)?|email|impp)$/;

/**
 * @param {string} detail such as "billing cc-number"
 * @returns {string} empty if it is not one
 */
export function autofillOf(detail) {
  const tokens = detail.split(" ").filter(Boolean);
  const field = tokens.pop() ?? "";
  return FIELDS.test(field) && tokens.every((token) => GROUPS.test(token)) ? [...tokens, field].join(" ") : "";
}
