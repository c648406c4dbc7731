/**
 * The file of a token, to be looked at: the inside of <secure-image>, for pictures, and of <secure-viewer>, for texts and PDFs as well.
 *
 * What it is, is found out from its bytes. What the page hears does not depend on them.
 */

import { FileDownload } from "./file-download.js";
import { downloadTicket } from "./file-jobs.js";
import { kindOf } from "./file-kinds.js";
import { drawPdf } from "./file-pdf.js";
import { made } from "./file-row.js";
import { Notice } from "./notice.js";
import { Refused, nameOf } from "./refused.js";
import { say } from "./texts.js";

/** @typedef {import("./link.js").Link} Link */
/** @typedef {import("./messages.js").Message} Message */

const MAX_BYTES = 64 << 20;
const MAX_TEXT_BYTES = 2 << 20;

export class FileViewer {
  #link;
  #kind;
  #box = made("div", "view");
  #notice = new Notice();
  #label = "";
  #placeholder = "";
  /** @type {string | null} */
  #token = null;
  #shown = 0;
  /** @type {AbortController | null} */
  #ending = null;

  /**
   * @param {Link} link
   * @param {"image" | "viewer"} kind
   */
  constructor(link, kind) {
    this.#link = link;
    this.#kind = kind;
    document.body.dataset.kind = kind;
    document.body.prepend(this.#box);
    // What is dragged would be told to whatever page it is dropped on.
    document.addEventListener("dragstart", (event) => event.preventDefault());
  }

  /** @param {Record<string, any>} settings */
  set(settings) {
    this.#label = settings.label ?? this.#label;
    this.#placeholder = settings.placeholder ?? this.#placeholder;
    this.#box.dataset.placeholder = this.#placeholder || "–";
    this.#name();
  }

  /** @param {string | null} token */
  async show(token) {
    const turn = ++this.#shown;
    this.#token = token;
    this.#clear();
    if (token === null) return;
    this.#box.setAttribute("aria-busy", "true");
    const ending = (this.#ending = new AbortController());
    const download = new FileDownload(() => downloadTicket(this.#link, token), MAX_BYTES);
    try {
      const value = await download.run(ending.signal, () => {});
      if (turn === this.#shown) await this.#draw(value, () => turn === this.#shown);
    } catch (error) {
      if (turn === this.#shown) this.#fail(nameOf(error), token, download.begun);
    }
    if (turn === this.#shown) this.#box.setAttribute("aria-busy", "false");
  }

  /** @param {Message} order */
  order(order) {
    if (order.type === "show") void this.show(order.token);
    if (order.type === "recheck") void this.show(this.#token);
    if (order.type === "commit") this.#link.report({ type: "failed", request: order.request, name: "invalidRequest" });
  }

  /**
   * @param {Blob} value
   * @param {() => boolean} current whether it is still to be shown
   */
  async #draw(value, current) {
    const found = await kindOf(value);
    if (found?.kind === "image") return this.#drawImage(value, found.type, current);
    if (this.#kind === "image" || found === null) throw new Refused("unshown");
    if (found.kind === "pdf") return drawPdf(value, this.#label || say("pdf"), (box) => current() && this.#put(box));
    if (value.size > MAX_TEXT_BYTES) throw new Refused("tooLarge");
    const text = await value.text();
    if (current()) this.#put(made("pre", "words", text));
  }

  /**
   * @param {Blob} value
   * @param {string} type
   * @param {() => boolean} current
   */
  async #drawImage(value, type, current) {
    const url = URL.createObjectURL(new Blob([value], { type }));
    const image = made("img", "picture");
    image.src = url;
    try {
      await image.decode();
    } catch {
      throw new Refused("damaged");
    } finally {
      // A picture that was decoded needs its address no more.
      URL.revokeObjectURL(url);
    }
    if (current()) this.#put(image);
  }

  /** @param {HTMLElement} element */
  #put(element) {
    this.#box.replaceChildren(element);
    this.#name();
  }

  #name() {
    const content = this.#box.firstElementChild;
    if (content instanceof HTMLImageElement) content.alt = this.#label;
    if (!(content instanceof HTMLPreElement)) return;
    // What is cut off can be scrolled by keyboard.
    content.tabIndex = 0;
    content.setAttribute("role", "group");
    content.setAttribute("aria-label", this.#label || say("files"));
  }

  #clear() {
    this.#ending?.abort();
    this.#notice.hide();
    this.#box.replaceChildren();
    this.#box.setAttribute("aria-busy", "false");
  }

  /**
   * @param {string} name
   * @param {string} token
   * @param {boolean} untold whether it may depend on the value, so that the page is not told
   */
  #fail(name, token, untold) {
    this.#box.replaceChildren();
    this.#notice.show(name === "tooLarge" ? "valueTooLarge" : name, () => void this.show(token));
    if (!untold) this.#link.failShowing(name);
  }
}
