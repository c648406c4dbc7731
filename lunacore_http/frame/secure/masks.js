/**
 * How a value is written while it is typed: separators come by themselves, and what does not belong is left out.
 *
 * A pattern has `9` for a digit, `a` for a letter, `x` for either, `A` and `X` for the same in upper case; all else stands for itself.
 */

import { brandOf } from "./validators.js";

/** @type {Readonly<Record<string, RegExp>>} */
const SLOTS = { 9: /\d/, a: /[a-z]/i, A: /[a-z]/i, x: /[a-z\d]/i, X: /[a-z\d]/i };

/** @type {Readonly<Record<string, (text: string) => string>>} */
const OWN = {
  card: (text) => brandOf(text).pattern,
  // A year of four digits is one of this century; as two, "20" would be over long since.
  expiry: (text) => (/^\d\d\D*20/.test(text) ? "99/9999" : "99/99"),
  cvc: () => "9999",
  ssn: () => "999-99-9999",
  ein: () => "99-9999999",
  date: () => "9999-99-99",
  iban: () => "AA99 XXXX XXXX XXXX XXXX XXXX XXXX XXXX XX",
};
/** @type {Readonly<Record<string, RegExp>>} */
const LEFT_OUT = { email: /\s/g, phone: /[^\d +()./-]/g };

/**
 * Write a text as its mask wants it.
 *
 * @param {{validator: string, mask: string}} rules a mask is a pattern, `none`, or empty for the validator's own
 * @param {string} text
 * @param {number} caret where in the text it is
 * @param {boolean} [forward] whether a separator right behind the caret is to be passed, as by the key Delete
 * @returns {[text: string, caret: number]}
 */
export function masked({ validator, mask }, text, caret, forward = false) {
  // Digits of East Asian keyboards are digits.
  let head = text.slice(0, caret).normalize("NFKC");
  let tail = text.slice(caret).normalize("NFKC");
  const leftOut = LEFT_OUT[validator];
  const own = OWN[validator];
  if (mask === "" && leftOut) return written(head.replace(leftOut, ""), tail.replace(leftOut, ""));
  if (mask === "none" || (mask === "" && !own)) return [text, caret];
  if (mask === "" && validator === "expiry") [head, tail] = asMonthFirst(head, tail);
  const pattern = mask || (own?.(head + tail) ?? "");
  head = withoutSpare(pattern, head, tail);
  const made = fit(pattern, head + tail);
  let place = fit(pattern, head).length;
  while (forward && place < made.length && !SLOTS.x?.test(made[place] ?? "")) place++;
  return [made, place];
}

/**
 * A separator is written when something comes behind it, so that what is deleted does not come back at once. So the beginning of a
 * text is always written as the beginning of the whole.
 *
 * @param {string} pattern
 * @param {string} text
 */
function fit(pattern, text) {
  let made = "";
  let between = "";
  let place = 0;
  for (const slot of pattern) {
    const form = SLOTS[slot];
    if (form === undefined) {
      between += slot;
      continue;
    }
    while (place < text.length && !form.test(text[place] ?? "")) place++;
    const one = text[place++];
    if (one === undefined) break;
    made += between + (/[AX]/.test(slot) ? one.toUpperCase() : one);
    between = "";
  }
  return made;
}

/**
 * What is typed into the midst of a full field does not push out its end.
 *
 * @param {string} pattern
 * @param {string} head
 * @param {string} tail
 */
function withoutSpare(pattern, head, tail) {
  const slots = [...pattern].filter((slot) => slot in SLOTS);
  /** @param {string} one */
  const fits = (one) => slots.some((slot) => SLOTS[slot]?.test(one));
  const kept = [...head].filter(fits);
  const spare = kept.length + [...tail].filter(fits).length - slots.length;
  return spare > 0 && spare <= kept.length ? kept.slice(0, -spare).join("") : head;
}

/**
 * "5", "5/27" and "2027-05" are what people and autofill write for "05/27".
 *
 * @param {string} head
 * @param {string} tail
 * @returns {[head: string, tail: string]}
 */
function asMonthFirst(head, tail) {
  const iso = /^(20\d\d)-(\d\d)$/.exec(head + tail);
  if (iso !== null) return [`${iso[2]}/${iso[1]}`, ""];
  return /^([2-9]|1\D)/.test(head + tail) ? [head && `0${head}`, head ? tail : `0${tail}`] : [head, tail];
}

/**
 * @param {string} head
 * @param {string} tail
 * @returns {[string, number]}
 */
function written(head, tail) {
  return [head + tail, head.length];
}
