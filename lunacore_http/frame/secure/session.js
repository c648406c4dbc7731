/**
 * The session that a page's frames act for. It is found once, and they are locked to it: another user's session in the same browser
 * is refused until the page is loaded anew.
 */

import { verifySession } from "./calls.js";
import { Refused } from "./refused.js";

export class Session {
  /** @type {() => Promise<void>} */
  #attempt;
  /** @type {string | null} */
  #locked = null;
  /** @type {Promise<string> | null} */
  #hash = null;

  /** @param {() => Promise<void>} attempt has the browser go through /session/ensure; whether it worked is found out afterwards */
  constructor(attempt) {
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
    const hash = (await verifySession()) ?? (await this.#ensure());
    if (this.#locked !== null && this.#locked !== hash) throw new Refused("sessionMismatch");
    this.#locked = hash;
    return hash;
  }

  async #ensure() {
    await this.#attempt();
    const hash = await verifySession();
    if (hash === null) throw new Refused("sessionMissing");
    return hash;
  }
}
