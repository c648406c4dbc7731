/**
 * What a value has to be like. A page chooses one by name, and brings none of its own.
 *
 * Sources: ISO/IEC 7812 (cards), SSA's randomization of 2011 (SSN), the IRS's prefixes (EIN), the HTML Standard (e-mail), E.164
 * (phone), ISO 13616 with SWIFT's registry (IBAN), ISO 8601 (date).
 */

/** @typedef {"incomplete" | "wrong" | "past" | null} Flaw null if there is none */
/** @typedef {(text: string, now: Date) => Flaw} Rule */

const IN_FOURS = "9999 9999 9999 9999";

// Name, how numbers of it begin, which lengths they have, and how they are written; the first that fits.
/** @type {readonly (readonly [name: string, beginning: RegExp, lengths: RegExp, pattern: string])[]} */
const BRANDS = [
  ["Visa", /^4/, /^1[369]$/, `${IN_FOURS} 999`],
  ["Mastercard", /^(5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720)/, /^16$/, IN_FOURS],
  ["Amex", /^3[47]/, /^15$/, "9999 999999 99999"],
  ["Diners", /^3(0[0-5]|[689])/, /^1[4-9]$/, `${IN_FOURS} 999`],
  ["JCB", /^35(2[89]|[3-8])/, /^1[6-9]$/, `${IN_FOURS} 999`],
  ["Discover", /^(6011|64[4-9]|65)/, /^1[6-9]$/, `${IN_FOURS} 999`],
  ["UnionPay", /^62/, /^1[6-9]$/, `${IN_FOURS} 999`],
  ["Maestro", /^(50|5[6-8]|6)/, /^1[2-9]$/, `${IN_FOURS} 999`],
  ["", /^/, /^1[2-9]$/, `${IN_FOURS} 999`],
];

const IBAN_LENGTHS =
  "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24FI18FK18FO18FR27GB22GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20YE30";

const MAX_YEARS_AHEAD = 20;

/** The rule of each, the keyboard and the autofill that suit it. */
/** @type {Readonly<Record<string, readonly [rule: Rule, keyboard: string, autofill: string]>>} */
export const VALIDATORS = {
  card: [card, "numeric", "cc-number"],
  expiry: [expiry, "numeric", "cc-exp"],
  cvc: [(text) => formed(text, /^\d{3,4}$/, 3), "numeric", "cc-csc"],
  ssn: [(text) => formed(text, /^(?!000|666|9)\d{3}([ -]?)(?!00)\d\d\1(?!0000)\d{4}$/, 9), "numeric", "off"],
  ein: [(text) => formed(text, /^(?!0[0789]|1[789]|2[89]|49|69|7[089]|89|9[67])\d\d-?\d{7}$/, 9), "numeric", "off"],
  email: [email, "email", "email"],
  phone: [phone, "tel", "tel"],
  iban: [iban, "text", "off"],
  date: [date, "numeric", "off"],
};

/**
 * The kind of card that a number may become.
 *
 * @param {string} text
 */
export function brandOf(text) {
  const digits = text.replace(/\D/g, "");
  const [name, , lengths, pattern] = BRANDS.find(([, beginning]) => beginning.test(digits)) ?? ["", /^/, /^/, ""];
  return { name, digits, lengths, pattern };
}

/** @type {Rule} */
function card(text) {
  const { name, digits, lengths, pattern } = brandOf(text);
  if (/[^\d -]/.test(text)) return "wrong";
  if (lengths.test(String(digits.length))) return name === "UnionPay" || luhn(digits) ? null : "wrong";
  return digits.length < pattern.replaceAll(" ", "").length ? "incomplete" : "wrong";
}

/** @param {string} digits */
function luhn(digits) {
  const sum = [...digits].reverse().reduce((all, digit, place) => {
    const weighed = Number(digit) * (1 + (place % 2));
    return all + (weighed > 9 ? weighed - 9 : weighed);
  }, 0);
  return sum % 10 === 0 && sum > 0;
}

/** @type {Rule} */
function expiry(text, now) {
  const [, month, , year] = /^(0?[1-9]|1[0-2]) ?[/-] ?(20)?(\d\d)$/.exec(text) ?? [];
  if (month === undefined) return formed(text, /^$/, 4);
  const ahead = 2000 + Number(year) - now.getFullYear();
  if (ahead < 0 || (ahead === 0 && Number(month) <= now.getMonth())) return "past";
  return ahead > MAX_YEARS_AHEAD ? "wrong" : null;
}

/** @type {Rule} */
function email(text) {
  const [local = "", domain = "", ...more] = text.split("@");
  if (more.length > 0 || /[^\w.!#$%&'*+/=?^`{|}~-]/.test(local) || local.length > 64 || text.length > 254) return "wrong";
  if (!/^[a-z0-9.-]*$/i.test(domain)) return "wrong";
  if (local === "" || !domain.includes(".") || domain.endsWith(".")) return text.startsWith("@") ? "wrong" : "incomplete";
  return domain.split(".").every((label) => /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i.test(label)) ? null : "wrong";
}

/** @type {Rule} */
function phone(text) {
  const count = text.replace(/\D/g, "").length;
  if (!/^(\+(?!0))?[\d ()./-]*$/.test(text) || count > 15) return "wrong";
  return count < 7 ? "incomplete" : null;
}

/** @type {Rule} */
function iban(text) {
  const given = text.replaceAll(" ", "").toUpperCase();
  if (!/^[A-Z]{0,2}$|^[A-Z]{2}\d{0,2}$|^[A-Z]{2}\d\d[A-Z0-9]+$/.test(given)) return "wrong";
  if (given.length < 2) return "incomplete";
  // Pairs of country and length stand side by side: only every fourth place begins one.
  const place = [...IBAN_LENGTHS.matchAll(/..../g)].find(([pair]) => pair.startsWith(given.slice(0, 2)));
  const length = Number(place?.[0].slice(2) ?? 0);
  if (given.length !== length) return given.length < length ? "incomplete" : "wrong";
  let rest = 0;
  for (const one of given.slice(4) + given.slice(0, 4)) rest = Number(`${rest}${Number.parseInt(one, 36)}`) % 97;
  return rest === 1 ? null : "wrong";
}

/** @type {Rule} */
function date(text) {
  const flaw = formed(text, /^\d{4}-\d\d-\d\d$/, 8);
  if (flaw !== null) return flaw;
  const day = new Date(`${text}T00:00Z`);
  return !Number.isNaN(day.getTime()) && day.toISOString().startsWith(text) ? null : "wrong";
}

/**
 * @param {string} text
 * @param {RegExp} form
 * @param {number} digits so many it has at least
 * @returns {Flaw}
 */
function formed(text, form, digits) {
  if (form.test(text)) return null;
  return /^[\d /-]*$/.test(text) && text.replace(/\D/g, "").length < digits ? "incomplete" : "wrong";
}
