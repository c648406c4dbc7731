/**
 * What a message may look like: exactly these members, each of its form. Anything else is dropped, whole.
 */

/** @typedef {(value: unknown) => boolean} Form */

/**
 * @param {RegExp} pattern of the whole text
 * @returns {Form}
 */
export function matching(pattern) {
  return (value) => typeof value === "string" && pattern.test(value);
}

/**
 * @param {number} length characters at most
 * @returns {Form}
 */
export function text(length) {
  return (value) => typeof value === "string" && value.length <= length;
}

/**
 * @param {...string} choices
 * @returns {Form}
 */
export function oneOf(...choices) {
  return (value) => typeof value === "string" && choices.includes(value);
}

/**
 * @param {number} least
 * @param {number} most
 * @returns {Form}
 */
export function integer(least, most) {
  return (value) => Number.isSafeInteger(value) && Number(value) >= least && Number(value) <= most;
}

/** @type {Form} */
export function boolean(value) {
  return typeof value === "boolean";
}

/**
 * @param {Form} form
 * @returns {Form}
 */
export function orNull(form) {
  return (value) => value === null || form(value);
}

/**
 * @param {Form} form of every item
 * @param {number} limit items at most
 * @returns {Form}
 */
export function listOf(form, limit) {
  return (value) => Array.isArray(value) && value.length <= limit && value.every(form);
}

/**
 * An object with these members and no other; all of them, unless only some need be there.
 *
 * @param {Readonly<Record<string, Form>>} members
 * @param {{partial?: boolean}} [options]
 * @returns {Form}
 */
export function exactly(members, { partial = false } = {}) {
  const known = new Map(Object.entries(members));
  return (value) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
    const given = Object.entries(value);
    return (partial || given.length === known.size) && given.every(([name, member]) => known.get(name)?.(member) ?? false);
  };
}

/**
 * @param {RegExp} names
 * @param {Form} form of every member
 * @param {number} limit members at most
 * @returns {Form}
 */
export function mapping(names, form, limit) {
  return (value) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
    const given = Object.entries(value);
    return given.length <= limit && given.every(([name, member]) => names.test(name) && form(member));
  };
}
