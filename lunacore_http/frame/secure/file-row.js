/**
 * A file as a person sees it: its name, how far it is, and what can be done with it.
 */

import { inParts, isProgram, safeName } from "./file-names.js";
import { say } from "./texts.js";

const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];

/**
 * An element with a class and perhaps a text.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {string} name
 * @param {string} [text]
 * @returns {HTMLElementTagNameMap[K]}
 */
export function made(tag, name, text = "") {
  const element = document.createElement(tag);
  element.className = name;
  element.textContent = text;
  return element;
}

/**
 * @param {string} name
 * @param {() => void} act
 */
export function button(name, act) {
  const element = made("button", name);
  element.type = "button";
  element.addEventListener("click", act);
  return element;
}

/**
 * A file's name, of which the end is always to be seen, and which is marked if it is a program's.
 *
 * @param {string} given
 */
export function nameBox(given) {
  const name = safeName(given);
  const [stem, extension] = inParts(name);
  const box = made("bdi", "name");
  box.dir = "ltr";
  box.title = name;
  // In parts for the eye alone.
  const parts = [made("span", "stem", stem), made("span", "extension", extension)];
  for (const part of parts) part.ariaHidden = "true";
  box.append(made("span", "whole", name), ...parts);
  if (!isProgram(name)) return box;
  const mark = made("span", "program", say("program"));
  mark.title = say("programSaid");
  box.append(mark);
  return box;
}

/**
 * A number of bytes for a person.
 *
 * @param {number} bytes
 */
export function sizeText(bytes) {
  const power = bytes < 1000 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(bytes) / 3));
  const options = { style: "unit", unit: UNITS[power], unitDisplay: "short", maximumFractionDigits: power === 0 ? 0 : 1 };
  return new Intl.NumberFormat(document.documentElement.lang, /** @type {Intl.NumberFormatOptions} */ (options)).format(bytes / 1000 ** power);
}

export class FileRow {
  element = made("li", "file");
  #name = made("span", "names");
  #status = made("span", "status");
  #progress = made("progress", "progress");
  #retry;
  #remove;
  /** The name as it is shown. */
  name = "";

  /**
   * @param {{retry: () => void, remove: () => void}} acts
   */
  constructor({ retry, remove }) {
    this.#retry = button("retry", retry);
    this.#remove = button("remove", remove);
    this.#progress.max = 1;
    this.element.append(this.#name, this.#status, this.#progress, this.#retry, this.#remove);
  }

  /** @param {string} given */
  call(given) {
    this.name = safeName(given);
    this.#name.replaceChildren(nameBox(given));
    this.#progress.setAttribute("aria-label", `${say("fileSealing")} ${this.name}`);
    this.#retry.textContent = say("retry");
    this.#retry.setAttribute("aria-label", say("retryFile", this.name));
  }

  /**
   * @param {{state: string, text: string, retry: boolean, busy: boolean, fixed: boolean}} shown `fixed` if it cannot be removed
   */
  show({ state, text, retry, busy, fixed }) {
    this.element.dataset.state = state;
    this.#status.textContent = this.#status.title = text;
    this.#progress.hidden = !busy;
    this.#retry.hidden = !retry || fixed;
    this.#remove.hidden = fixed;
    this.#remove.textContent = say(busy ? "cancel" : "remove");
    this.#remove.setAttribute("aria-label", say(busy ? "cancelFile" : "removeFile", this.name));
  }

  /** @param {number} part how much is done, of 1 */
  progress(part) {
    this.#progress.value = part;
  }

  focus() {
    this.#remove.focus();
  }
}
