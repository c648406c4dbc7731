/**
 * The session that a page's frames act for. It is found once, and they are locked to it: another user's session in the same browser
 * is refused until the page is loaded anew.
 */

import { verifySession } from "./calls.js";
import { cookieFailure } from "./cookies.js";
import { Refused } from "./refused.js";

export class Session {
  #provider;
  #cookie;
  /** @type {(renew: boolean) => Promise<void>} */
  #attempt;
  /** @type {string | null} */
  #locked = null;
  /** @type {Promise<string> | null} */
  #hash = null;
  /** Whether another session took the place of the one that was there; null while that has not been asked. @type {Promise<boolean> | null} */
  #renewal = null;

  /**
   * @param {string | null} provider whose session it must be; null for whichever there is
   * @param {string} cookie the tokenizer's setting `sessions.cookie`
   * @param {(renew: boolean) => Promise<void>} attempt has the browser go through /session/ensure; whether it worked is found out afterwards
   */
  constructor(provider, cookie, attempt) {
    this.#provider = provider;
    this.#cookie = cookie;
    this.#attempt = attempt;
  }

  /**
   * Do something for the session; once more if it turns out to have ended meanwhile.
   *
   * @template T
   * @param {(hash: string) => Promise<T>} act
   * @returns {Promise<T>}
   */
  async use(act) {
    const first = this.#live();
    try {
      return await act(await first);
    } catch (error) {
      if (!(error instanceof Refused) || error.name !== "unauthenticated") throw error;
      if (this.#hash === first) this.#hash = null;
    }
    return act(await this.#live());
  }

  /** The session turned out to be the right one: something was kept or shown by it. */
  confirm() {
    this.#renewal ??= Promise.resolve(false);
  }

  /**
   * After everything was refused: have the application asked, once, who is logged in now. The session that was there may be that of
   * somebody who was there before (docs/decisions/0025).
   *
   * @returns {Promise<boolean>} whether there is another session now
   */
  renew() {
    this.#renewal ??= this.#renewed();
    return this.#renewal;
  }

  /**
   * See whether the browser still has the session.
   *
   * @returns {Promise<boolean>} false only if it certainly has not
   */
  async check() {
    if (this.#locked === null) return true;
    try {
      if ((await verifySession(this.#provider)) === this.#locked) return true;
    } catch {
      return true; // of no answer, whoever needs one hears
    }
    this.#hash = null;
    return false;
  }

  #live() {
    if (this.#hash === null) {
      const hash = this.#establish();
      this.#hash = hash;
      hash.catch(() => {
        if (this.#hash === hash) this.#hash = null;
      });
    }
    return this.#hash;
  }

  async #establish() {
    const hash = (await verifySession(this.#provider)) ?? (await this.#ensure());
    if (this.#locked !== null && this.#locked !== hash) throw new Refused("sessionMismatch");
    this.#locked = hash;
    return hash;
  }

  async #ensure() {
    const failure = cookieFailure(this.#cookie);
    if (failure !== null) throw new Refused(failure);
    await this.#attempt(false);
    const hash = await verifySession(this.#provider);
    if (hash === null) throw new Refused("sessionMissing");
    this.confirm();
    return hash;
  }

  async #renewed() {
    await this.#attempt(true);
    const hash = await verifySession(this.#provider);
    if (hash === null || hash === this.#locked) return false;
    this.#locked = hash;
    this.#hash = Promise.resolve(hash);
    return true;
  }
}
