/**
 * Texts into tokens and back: sealed and opened here, so that neither tokenizer nor object store sees them.
 */

import { Batch } from "./batch.js";
import { callForMany, download, upload } from "./calls.js";
import { Refused } from "./refused.js";
import { open, seal } from "./segments.js";

/** @typedef {import("./calls.js").Envelope} Envelope */
/** @typedef {import("./session.js").Session} Session */
/** @typedef {{filename: string, type: string, lastModified: number}} FileInfo */
/**
 * What a frame needs to bring a file up or down by itself.
 *
 * @typedef {{token: string, url: string, headers: Record<string, string>, key: Uint8Array<ArrayBuffer> | null}} FileTicket
 */

/** The tokenizer's own limit may be higher; a page has no use for more at once. */
const BATCH = 100;
const MAX_TEXT_BYTES = 1 << 20;
const MAX_SEALED_BYTES = MAX_TEXT_BYTES + 1024;
const VALUE_KEY_BYTES = 32;
const FORMAT = "sealed-v1";

export class Vault {
  #session;
  /** @type {Batch<{metadata: object, size: number}, any>} */
  #uploads;
  /** @type {Batch<string, any>} */
  #downloads;
  /** @type {Batch<string, any>} */
  #infos;

  /** @param {Session} session */
  constructor(session) {
    this.#session = session;
    this.#uploads = new Batch((values) => this.#tokenize(values), BATCH);
    this.#downloads = new Batch((tokens) => this.#granted("/detokenize", tokens), BATCH);
    this.#infos = new Batch((tokens) => this.#granted("/metadata/get", tokens), BATCH);
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
    const ticket = await this.#uploads.ask({ metadata: { dataType: "string" }, size: plain.length });
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

  /**
   * @param {number} size bytes
   * @param {FileInfo} fileinfo
   * @returns {Promise<FileTicket>}
   */
  async uploadTicket(size, fileinfo) {
    const ticket = await this.#uploads.ask({ metadata: { dataType: "file", fileinfo }, size });
    return { token: ticket.tokenId, url: ticket.uploadUrl, headers: ticket.headers, key: keyOf(ticket) };
  }

  /**
   * @param {string} token
   * @returns {Promise<FileTicket>} without a key where the value lies in the object store as it is
   */
  async downloadTicket(token) {
    const ticket = await this.#downloads.ask(token);
    const key = ticket.valueFormat === undefined ? null : keyOf(ticket);
    return { token, url: ticket.downloadUrl, headers: ticket.headers, key };
  }

  /**
   * @param {string} token
   * @returns {Promise<Partial<FileInfo>>} empty if it is not of a file
   */
  async fileInfo(token) {
    return (await this.#infos.ask(token)).metadata?.fileinfo ?? {};
  }

  /** @param {{metadata: object, size: number}[]} values */
  async #tokenize(values) {
    const items = values.map((value) => ({ ...value, valueFormat: FORMAT }));
    const told = outcomes(await this.#session.use((hash) => callForMany("/tokenize", { items }, hash, items.length)));
    this.#session.confirm();
    return told;
  }

  /**
   * @param {"/detokenize" | "/metadata/get"} path
   * @param {string[]} tokens one may come more than once
   */
  async #granted(path, tokens) {
    const tokenIds = [...new Set(tokens)];
    const ask = async () => outcomes(await this.#session.use((hash) => callForMany(path, { tokenIds }, hash, tokenIds.length)));
    let told = await ask();
    if (!told.every(isUngranted)) this.#session.confirm();
    else if (await this.#session.renew()) told = await ask();
    const byToken = new Map(tokenIds.map((token, place) => [token, told[place]]));
    return tokens.map((token) => byToken.get(token));
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
  if (key.length !== VALUE_KEY_BYTES) throw new Refused("internalError");
  return key;
}
