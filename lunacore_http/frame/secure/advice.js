/**
 * What stands beside a field, inside the frame: its description, the kind of a card, and what is wrong with what was typed.
 */

import { VALIDATORS, brandOf } from "./validators.js";

const FLAWS = { incomplete: "Incomplete", wrong: "Wrong", past: "Past" };

export class Advice {
  #input;
  #description = part("description");
  #brand = part("brand");
  #message = part("advice");

  /** @param {HTMLInputElement} input */
  constructor(input) {
    this.#input = input;
    this.#message.setAttribute("role", "status");
    input.setAttribute("aria-describedby", "description brand advice notice");
    input.after(this.#brand, this.#message, this.#description);
  }

  /** Whether it says that something is wrong. */
  get objects() {
    return this.#message.textContent !== "";
  }

  /** @param {string} text for those who do not see the page around */
  describe(text) {
    this.#description.textContent = text;
  }

  /**
   * Draw the kind of card. It depends on the first digits, so no page is told.
   *
   * @param {string} validator
   * @param {string} text
   */
  draw(validator, text) {
    this.#brand.textContent = validator === "card" && text !== "" ? brandOf(text).name : "";
  }

  /** @param {string} message what is wrong; empty for nothing */
  tell(message) {
    this.#message.textContent = this.#message.title = message;
    this.#input.setAttribute("aria-invalid", String(message !== ""));
  }
}

/**
 * What a validator, or the browser's own rule for the type of field, has against a text.
 *
 * @param {string} validator
 * @param {HTMLInputElement} input
 * @returns {{flaw: string | null, message: string}} the flaw by the name that pages know, which is the same for all of a validator
 */
export function judge(validator, input) {
  const known = VALIDATORS[validator];
  if (known !== undefined && input.value !== "") {
    const [name, rule] = known;
    const flaw = rule(input.value, new Date());
    return flaw === null ? { flaw, message: "" } : { flaw: "patternMismatch", message: `${FLAWS[flaw]} ${name}` };
  }
  const { typeMismatch, badInput } = input.validity;
  if (typeMismatch || badInput) return { flaw: typeMismatch ? "typeMismatch" : "badInput", message: `Wrong ${NAMES[input.type] ?? "value"}` };
  return { flaw: null, message: "" };
}

/** @type {Readonly<Record<string, string>>} */
const NAMES = { email: "e-mail address", url: "web address" };

/** @param {string} id */
function part(id) {
  const made = document.createElement("span");
  made.id = id;
  return made;
}
