/**
 * Texts into tokens and back: sealed and opened here, so that neither tokenizer nor object store sees them.
 */

import { Batch } from "./batch.js";
import { callForMany, download, upload } from "./calls.js";
import { Refused } from "./refused.js";
import { open, seal } from "./segments.js";

/** @typedef {import("./calls.js").Envelope} Envelope */
/** @typedef {import("./session.js").Session} Session */

/** The tokenizer's own limit may be higher; a page has no use for more at once. */
const BATCH = 100;
const MAX_TEXT_BYTES = 1 << 20;
const MAX_SEALED_BYTES = MAX_TEXT_BYTES + 1024;
const KEY_BYTES = 32;
const FORMAT = "sealed-v1";

export class Vault {
  #session;
  /** @type {Batch<number, any>} */
  #uploads;
  /** @type {Batch<string, any>} */
  #downloads;

  /** @param {Session} session */
  constructor(session) {
    this.#session = session;
    this.#uploads = new Batch((sizes) => this.#tokenize(sizes), BATCH);
    this.#downloads = new Batch((tokens) => this.#detokenize(tokens), BATCH);
  }

  /**
   * Keep a text.
   *
   * @param {string} text
   * @returns {Promise<string>} its token
   */
  async put(text) {
    const plain = new TextEncoder().encode(text);
    if (plain.length > MAX_TEXT_BYTES) throw new Refused("tooLarge");
    const ticket = await this.#uploads.ask(plain.length);
    const sealed = await seal(keyOf(ticket), plain, "value");
    await upload(ticket.uploadUrl, ticket, sealed);
    return ticket.tokenId;
  }

  /**
   * Get a text back.
   *
   * @param {string} token
   * @returns {Promise<Uint8Array>} UTF-8, if it is a text at all
   */
  async get(token) {
    const ticket = await this.#downloads.ask(token);
    const bytes = await download(ticket.downloadUrl, ticket, MAX_SEALED_BYTES);
    if (ticket.valueFormat === undefined) return bytes;
    try {
      return await open(keyOf(ticket), bytes, "value");
    } catch {
      throw new Refused("damaged");
    }
  }

  /** @param {number[]} sizes */
  async #tokenize(sizes) {
    const items = sizes.map((size) => ({ metadata: { dataType: "string" }, size, valueFormat: FORMAT }));
    const told = outcomes(await this.#session.use((hash) => callForMany("/tokenize", { items }, hash, items.length)));
    this.#session.confirm();
    return told;
  }

  /** @param {string[]} tokens one may come more than once */
  async #detokenize(tokens) {
    const tokenIds = [...new Set(tokens)];
    let told = await this.#tickets(tokenIds);
    if (!told.every(isUngranted)) this.#session.confirm();
    else if (await this.#session.renew()) told = await this.#tickets(tokenIds);
    const byToken = new Map(tokenIds.map((token, place) => [token, told[place]]));
    return tokens.map((token) => byToken.get(token));
  }

  /** @param {string[]} tokenIds */
  async #tickets(tokenIds) {
    return outcomes(await this.#session.use((hash) => callForMany("/detokenize", { tokenIds }, hash, tokenIds.length)));
  }
}

/** @param {unknown} outcome */
function isUngranted(outcome) {
  return outcome instanceof Refused && outcome.name === "grantMissing";
}

/** @param {Envelope[]} envelopes */
function outcomes(envelopes) {
  return envelopes.map((one) => (one.success ? one.data : new Refused(one.error?.name)));
}

/** @param {{valueFormat?: string, valueKey?: string}} ticket */
function keyOf(ticket) {
  if (ticket.valueFormat !== FORMAT) throw new Refused("unsupportedVersion");
  const key = Uint8Array.from(atob(ticket.valueKey ?? ""), (character) => character.charCodeAt(0));
  if (key.length !== KEY_BYTES) throw new Refused("internalError");
  return key;
}
