/**
 * What a person is told, inside the frame, when something does not work; with a way to go on where there is one.
 */

import { say } from "./texts.js";

const FINAL = new Set(["notText", "sessionMismatch", "tooLarge", "frameUnavailable", "crossSite", "unshown", "valueTooLarge"]);
// What may be over when the network or the person comes back.
const PASSING = new Set(["network", "timeout", "storeUnavailable", "sessionMissing", "sessionMismatch"]);

export class Notice {
  /** @type {HTMLElement} */
  #box = document.createElement("div");
  #text = document.createElement("span");
  #button = document.createElement("button");
  /** @type {() => void} */
  #retry = () => {};

  constructor() {
    this.#box.className = "notice";
    this.#text.id = "notice";
    this.#text.setAttribute("role", "alert");
    this.#button.type = "button";
    this.#button.textContent = say("retry");
    this.#button.addEventListener("click", () => this.#retry());
    this.#box.append(this.#text, this.#button);
    this.hide();
    document.body.append(this.#box);
    addEventListener("online", () => this.#retryPassing());
    addEventListener("visibilitychange", () => this.#retryPassing());
  }

  /**
   * @param {string} name of the failure
   * @param {() => void} retry
   */
  show(name, retry) {
    this.#retry = retry;
    this.#box.hidden = false;
    this.#box.dataset.name = name;
    this.#text.textContent = this.#text.title = say(name);
    this.#button.hidden = FINAL.has(name);
  }

  hide() {
    this.#box.hidden = true;
    this.#text.textContent = "";
  }

  #retryPassing() {
    if (!this.#box.hidden && !document.hidden && PASSING.has(this.#box.dataset.name ?? "")) this.#retry();
  }
}
