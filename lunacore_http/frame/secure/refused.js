/**
 * Why something was not done, by the stable names that applications see (docs/spec/frame-messages.md, "Names of failures").
 */

const NAME = /^[a-z][A-Za-z]{0,39}$/;

export class Refused extends Error {
  /** @param {unknown} name what the tokenizer answered, or a name of the frame's own */
  constructor(name) {
    super("refused");
    /** The stable name. */
    this.name = typeof name === "string" && NAME.test(name) ? name : "internalError";
  }
}

/**
 * The stable name of any error.
 *
 * @param {unknown} error
 */
export function nameOf(error) {
  return error instanceof Refused ? error.name : "internalError";
}
