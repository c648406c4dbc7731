/**
 * What stands beside a field, inside the frame: its description, and what is wrong with what it holds.
 */

export class Advice {
  #control;
  #description = part("description");
  #message = part("advice");

  /**
   * @param {HTMLElement} control the field itself
   * @param {...Element} between what stands between it and what is said
   */
  constructor(control, ...between) {
    this.#control = control;
    this.#message.setAttribute("role", "status");
    control.setAttribute("aria-describedby", ["description", ...between.map((one) => one.id), "advice", "notice"].join(" "));
    control.after(...between, this.#message, this.#description);
  }

  /** Whether it says that something is wrong. */
  get objects() {
    return this.#message.textContent !== "";
  }

  /** @param {string} text for those who do not see the page around */
  describe(text) {
    this.#description.textContent = text;
  }

  /** @param {string} message what is wrong; empty for nothing */
  tell(message) {
    this.#message.textContent = this.#message.title = message;
    this.#control.setAttribute("aria-invalid", String(message !== ""));
  }
}

/** @param {string} id */
export function part(id) {
  const made = document.createElement("span");
  made.id = id;
  return made;
}
