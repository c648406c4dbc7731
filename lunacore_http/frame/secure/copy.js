/**
 * A button that copies a text to the clipboard: the inside of <secure-copy>. The text is fetched when it is wanted, and not kept.
 */

import { begin } from "./inside.js";
import { Refused, nameOf } from "./refused.js";
import { say, teach } from "./texts.js";

/** @typedef {import("./link.js").Link} Link */
/** @typedef {import("./messages.js").Message} Message */

const SHOWN_MS = 4000;

teach({ clipboardBlocked: "The browser does not let this be copied.", copy: "Copy", copied: "Copied" });

class Copy {
  #link;
  #button = document.createElement("button");
  #state = part("state", "status");
  #failure = part("failure", "alert");
  #description = part("description", "");
  #label = "";
  #disabled = false;
  #busy = false;
  /** @type {string | null} */
  #token = null;
  #turn = 0;

  /** @param {Link} link */
  constructor(link) {
    this.#link = link;
    this.#button.type = "button";
    this.#button.setAttribute("aria-describedby", "description failure");
    // A click that a script made is no person's.
    this.#button.addEventListener("click", (event) => event.isTrusted && !this.#busy && void this.#copy());
    document.body.dataset.kind = "copy";
    document.body.append(this.#button, this.#failure, this.#state, this.#description);
    addEventListener("focus", () => {
      if (document.activeElement === document.body) this.#button.focus();
    });
  }

  /** @param {Record<string, any>} settings */
  set(settings) {
    this.#label = settings.label ?? this.#label;
    this.#disabled = settings.disabled ?? this.#disabled;
    this.#description.textContent = settings.description ?? this.#description.textContent;
    this.#draw();
  }

  /** @param {string | null} token */
  async show(token) {
    this.#token = token;
    this.#turn++;
    this.#busy = false;
    this.#tell("", "");
  }

  /** @param {Message} order */
  order(order) {
    if (order.type === "show") void this.show(order.token);
    if (order.type === "commit") this.#link.report({ type: "failed", request: order.request, name: "invalidRequest" });
  }

  async #copy() {
    const turn = ++this.#turn;
    let failure = "clipboardBlocked";
    const text = this.#text().catch((error) => {
      failure = nameOf(error);
      throw error;
    });
    this.#busy = true;
    this.#tell("", "");
    try {
      // At once, and not when the text is there: browsers allow it for a moment after a click.
      await navigator.clipboard.write([new ClipboardItem({ "text/plain": text })]);
      failure = "";
    } catch {
      await text.catch(() => {});
    }
    if (turn !== this.#turn) return;
    this.#busy = false;
    this.#tell(failure === "" ? "copied" : "", failure);
    if (failure !== "") this.#link.failShowing(failure);
    else setTimeout(() => turn === this.#turn && this.#tell("", ""), SHOWN_MS);
  }

  /** @returns {Promise<Blob>} */
  async #text() {
    const text = this.#token === null ? null : await this.#link.get(this.#token);
    if (text === null) throw new Refused("notText");
    return new Blob([text], { type: "text/plain" });
  }

  /**
   * @param {string} state what is to be said of the last copying
   * @param {string} failure what was in its way
   */
  #tell(state, failure) {
    this.#state.textContent = state && say(state);
    this.#failure.textContent = this.#failure.title = failure && say(failure);
    this.#draw();
  }

  #draw() {
    this.#button.textContent = this.#state.textContent || say(this.#failure.textContent ? "retry" : "copy");
    this.#button.setAttribute("aria-label", `${this.#button.textContent} ${this.#label}`.trim());
    this.#button.setAttribute("aria-busy", String(this.#busy));
    this.#button.disabled = this.#disabled || this.#token === null;
  }
}

/**
 * @param {string} id
 * @param {string} role
 */
function part(id, role) {
  const made = document.createElement("span");
  made.id = id;
  if (role) made.setAttribute("role", role);
  return made;
}

begin({ copy: (link) => new Copy(link) });
