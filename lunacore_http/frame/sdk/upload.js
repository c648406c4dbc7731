/**
 * <secure-upload>: files whose bytes, names and sizes stay in the frame; for forms its value is their tokens.
 */

import { SecureField, define } from "./lunacore.js";

/** @typedef {import("./connection.js").Message} Message */

const ACCEPT = /^[A-Za-z0-9 .,*/+_-]{0,500}$/;
const UNITS = { "": 1, k: 1e3, m: 1e6, g: 1e9, ki: 2 ** 10, mi: 2 ** 20, gi: 2 ** 30 };
const MAX_TOKENS = 100;

const SHEET = new CSSStyleSheet();
SHEET.replaceSync(`
  :host(:is(:enabled, :disabled)) { display: block; inline-size: auto; block-size: 12em; padding: 0.5em; }
`);

export class SecureUpload extends SecureField {
  /** @override */
  static observedAttributes = [...SecureField.observedAttributes, "name", "tokens", "multiple", "accept", "max-size", "max-files"];

  /** @override @returns {"upload"} */
  get kind() {
    return "upload";
  }

  /** @override */
  get document() {
    return "upload";
  }

  /** @override */
  get sheets() {
    return [SHEET];
  }

  /** @override */
  get settings() {
    return {
      ...super.settings,
      multiple: this.multiple,
      accept: this.#accept,
      maxSize: bytesOf(this.getAttribute("max-size") ?? ""),
      maxFiles: countOf(this.getAttribute("max-files") ?? ""),
    };
  }

  /** @override */
  get lasting() {
    return ["accept", "max-size"];
  }

  /** @override */
  get firstToken() {
    return super.firstToken ?? this.#given;
  }

  /** The tokens of the files that are there, in the order of the list; those of files that are under way are not among them. */
  get tokens() {
    return tokensOf(this.token);
  }

  /** Have the list hold the files of these tokens. @param {string[]} tokens */
  set tokens(tokens) {
    this.token = joined([...tokens]) ?? "";
  }

  get multiple() {
    return this.hasAttribute("multiple");
  }

  set multiple(multiple) {
    this.toggleAttribute("multiple", multiple);
  }

  /**
   * A form sends one entry for each file, all under the same name.
   *
   * @override
   * @param {string | null} token
   */
  formValueOf(token) {
    const entries = new FormData();
    for (const one of tokensOf(token ?? "")) if (this.name) entries.append(this.name, one);
    return entries;
  }

  /**
   * @override
   * @param {string} name
   */
  attributeChangedCallback(name) {
    if (name === "name") return this.updateFormValue();
    if (name !== "token" && name !== "tokens") return super.attributeChangedCallback(name);
    if (this.isConnected) this.token = this.#given ?? "";
  }

  /** @override */
  formResetCallback() {
    this.token = this.#given ?? "";
  }

  /**
   * The frame is told tokens as a list.
   *
   * @override
   * @param {Message} order
   */
  order(order) {
    if (order.type === "mount") super.order({ ...order, token: null });
    if (order.type !== "mount" && order.type !== "show") return super.order(order);
    super.order({ type: "hold", tokens: tokensOf(order.token ?? ""), turn: order.turn });
  }

  /**
   * @override
   * @param {Message} report
   */
  hear(report) {
    if (report.type === "tokens") super.hear({ type: "token", turn: report.turn, token: joined(report.tokens) });
    else if (report.type === "committed") super.hear({ ...report, token: this.token || null });
    else super.hear(report);
  }

  /** What its attributes have it hold. */
  get #given() {
    return joined(tokensOf(`${this.getAttribute("token") ?? ""} ${this.getAttribute("tokens") ?? ""}`));
  }

  get #accept() {
    const accept = this.getAttribute("accept") ?? "";
    if (ACCEPT.test(accept)) return accept;
    console.error(`LunaCore: accept="${accept}" is malformed: no file is taken`);
    return ".";
  }
}

/** @param {string} text tokens, between spaces */
function tokensOf(text) {
  return text.split(/\s+/).filter(Boolean).slice(0, MAX_TOKENS);
}

/** @param {string[]} tokens */
function joined(tokens) {
  return tokens.length > 0 ? tokens.join(" ") : null;
}

/**
 * A size such as "10MB", "512 KiB" or "1000000".
 *
 * @param {string} text
 * @returns {number | null} bytes; null without a limit
 */
function bytesOf(text) {
  if (text.trim() === "") return null;
  const [, number = "", unit = ""] = /^\s*([0-9]+(?:\.[0-9]+)?)\s*([kmg]i?)?b?\s*$/i.exec(text) ?? [];
  if (number !== "") return Math.floor(Number(number) * (Object.entries(UNITS).find(([name]) => name === unit.toLowerCase())?.[1] ?? 1));
  console.error(`LunaCore: max-size="${text}" is malformed: no file is taken`);
  return 0;
}

/**
 * @param {string} text
 * @returns {number | null} null without a limit
 */
function countOf(text) {
  const count = Number.parseInt(text, 10);
  return count >= 0 ? Math.min(count, MAX_TOKENS) : null;
}

define({ "secure-upload": SecureUpload });
