/**
 * Many asks made at about the same time, done in one call.
 */

import { Refused } from "./refused.js";

const GATHER_MS = 5;

/**
 * @template A, R
 */
export class Batch {
  /** @type {{item: A, resolve: (result: R) => void, reject: (error: unknown) => void}[]} */
  #asked = [];
  #send;
  #limit;

  /**
   * @param {(items: A[]) => Promise<(R | Refused)[]>} send does them; one outcome for each, in order
   * @param {number} limit items of one call at most
   */
  constructor(send, limit) {
    this.#send = send;
    this.#limit = limit;
  }

  /**
   * @param {A} item
   * @returns {Promise<R>}
   */
  ask(item) {
    return new Promise((resolve, reject) => {
      if (this.#asked.length === 0) setTimeout(() => this.#flush(), GATHER_MS);
      this.#asked.push({ item, resolve, reject });
    });
  }

  #flush() {
    const asked = this.#asked;
    this.#asked = [];
    for (let start = 0; start < asked.length; start += this.#limit) void this.#settle(asked.slice(start, start + this.#limit));
  }

  /** @param {{item: A, resolve: (result: R) => void, reject: (error: unknown) => void}[]} asked */
  async #settle(asked) {
    try {
      const outcomes = await this.#send(asked.map((one) => one.item));
      outcomes.forEach((outcome, place) => {
        if (outcome instanceof Refused) asked[place]?.reject(outcome);
        else asked[place]?.resolve(outcome);
      });
    } catch (error) {
      for (const one of asked) one.reject(error);
    }
  }
}
