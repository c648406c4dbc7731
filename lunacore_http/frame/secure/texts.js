/**
 * What frames say to people: English here, other languages in modules of their own that are loaded by need.
 */

/** @type {Record<string, string>} */
const ENGLISH = {
  cookiesBlocked: "The browser keeps no cookies here. Allow them for this page.",
  crossSite: 'Not set up: this page is on another site than the tokenizer, which needs sessions.cookie = "cross-site".',
  frameUnavailable: "This field cannot be reached.",
  grantMissing: "You have no access to this.",
  network: "No connection.",
  notText: "This is a file, not a text.",
  rateLimited: "Too many at once.",
  sessionMismatch: "Your sign-in has changed. Reload the page.",
  sessionMissing: "You are signed out.",
  storeUnavailable: "Not available right now.",
  timeout: "No answer.",
  tooLarge: "Too long.",
  other: "This did not work.",
  retry: "Try again",
  show: "Show",
  hide: "Hide",
  missing: "Please fill this in",
  short: "Too short: at least %",
  incomplete: "Incomplete %",
  wrong: "Wrong %",
  past: "Past %",
  card: "card number",
  expiry: "expiry date",
  cvc: "security code",
  ssn: "SSN",
  ein: "EIN",
  email: "e-mail address",
  phone: "phone number",
  iban: "IBAN",
  date: "date",
  url: "web address",
  value: "value",
};

const LANGUAGES = ["de", "es", "fr"];

/** @type {Readonly<Record<string, string>>} */
let chosen = ENGLISH;

/**
 * @param {string} name of the text
 * @param {string} [part] what stands for its percent sign
 * @returns {string}
 */
export function say(name, part = "") {
  return (chosen[name] ?? ENGLISH[name] ?? say("other")).replace("%", part);
}

/**
 * Say these, too; other languages have theirs where they have all.
 *
 * @param {Readonly<Record<string, string>>} texts in English, by name
 */
export function teach(texts) {
  Object.assign(ENGLISH, texts);
}

/**
 * Speak a language from now on. One that there is none of, or that does not load, leaves what was.
 *
 * @param {string} language its subtag of BCP 47, such as "de"
 */
export async function speak(language) {
  if (!LANGUAGES.includes(language)) return;
  try {
    chosen = (await import(`./texts-${language}.js`)).TEXTS;
    document.documentElement.lang = language;
  } catch {
    // What is said in English is better than nothing.
  }
}
