/**
 * A button that saves the file of a token: the inside of <secure-download>.
 */

import { FileDownload } from "./file-download.js";
import { downloadTicket, fileInfo } from "./file-jobs.js";
import { safeName } from "./file-names.js";
import { button, made, nameBox } from "./file-row.js";
import { Notice } from "./notice.js";
import { nameOf } from "./refused.js";
import { say } from "./texts.js";

/** @typedef {import("./link.js").Link} Link */
/** @typedef {import("./messages.js").Message} Message */

/** How long the browser has to begin to read what it saves. */
const SAVING_MS = 60_000;

export class DownloadButton {
  #link;
  #button = button("download", () => void this.#start());
  #progress = made("progress", "progress");
  #cancel = button("cancel", () => this.#ending?.abort());
  #said = made("span", "said");
  #notice = new Notice();
  #label = "";
  #disabled = false;
  /** @type {string | null} */
  #token = null;
  /** As it was given; null as long as it is not known. @type {string | null} */
  #name = null;
  #shown = 0;
  /** @type {FileDownload | null} */
  #download = null;
  /** @type {AbortController | null} */
  #ending = null;

  /** @param {Link} link */
  constructor(link) {
    this.#link = link;
    this.#progress.max = 1;
    this.#said.setAttribute("role", "status");
    document.body.dataset.kind = "download";
    document.body.prepend(this.#button, this.#progress, this.#cancel, this.#said);
    addEventListener("focus", () => {
      this.#link.report({ type: "focused" });
      if (document.activeElement === document.body) this.#button.focus();
    });
    addEventListener("blur", () => this.#link.report({ type: "blurred" }));
    // A dragged name would be told to whatever page it is dropped on.
    document.addEventListener("dragstart", (event) => event.preventDefault());
    this.#draw();
  }

  /** @param {Record<string, any>} settings */
  set(settings) {
    this.#label = settings.label ?? this.#label;
    this.#disabled = settings.disabled ?? this.#disabled;
    this.#draw();
  }

  /** @param {string | null} token */
  async show(token) {
    const turn = ++this.#shown;
    this.#ending?.abort();
    this.#token = token;
    this.#name = this.#download = null;
    this.#said.textContent = "";
    this.#notice.hide();
    this.#draw();
    if (token === null) return;
    try {
      const { filename } = await fileInfo(this.#link, token);
      if (turn === this.#shown) this.#name = filename ?? "";
    } catch (error) {
      if (turn === this.#shown) this.#fail(nameOf(error), () => void this.show(token));
    }
    this.#draw();
  }

  /** @param {Message} order */
  order(order) {
    if (order.type === "show") void this.show(order.token);
    if (order.type === "recheck" && this.#ending === null) void this.show(this.#token);
    if (order.type === "commit") this.#link.report({ type: "failed", request: order.request, name: "invalidRequest" });
  }

  async #start() {
    const token = this.#token;
    if (token === null || this.#name === null || this.#ending !== null) return;
    const ending = (this.#ending = new AbortController());
    // What an earlier attempt has got is not fetched again.
    const download = (this.#download ??= new FileDownload(() => downloadTicket(this.#link, token)));
    this.#notice.hide();
    this.#said.textContent = say("downloading");
    this.#progress.value = 0;
    this.#draw();
    this.#cancel.focus();
    try {
      const value = await download.run(ending.signal, (part) => {
        this.#progress.value = part;
      });
      if (ending.signal.aborted) return;
      this.#download = null;
      this.#save(value, safeName(this.#name));
      this.#said.textContent = say("downloaded");
    } catch (error) {
      this.#said.textContent = "";
      if (!ending.signal.aborted) this.#fail(nameOf(error), () => void this.#start(), download.begun);
    } finally {
      if (this.#ending === ending) {
        this.#ending = null;
        this.#draw();
        if (document.activeElement === document.body && document.hasFocus()) this.#button.focus();
      }
    }
  }

  /**
   * @param {Blob} value
   * @param {string} name
   */
  #save(value, name) {
    // Of a type that no browser shows, whatever its bytes are.
    const url = URL.createObjectURL(new Blob([value], { type: "application/octet-stream" }));
    const anchor = document.createElement("a");
    anchor.href = url;
    anchor.download = name;
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(url), SAVING_MS);
  }

  /**
   * @param {string} name
   * @param {() => void} retry
   * @param {boolean} [untold] whether it may depend on the value, so that the page is not told
   */
  #fail(name, retry, untold = false) {
    this.#notice.show(name, retry);
    if (!untold) this.#link.failShowing(name);
  }

  #draw() {
    const running = this.#ending !== null;
    const name = this.#name === null ? "" : safeName(this.#name);
    this.#button.replaceChildren(this.#label || say("download"), ...(this.#name === null ? [] : [" ", nameBox(this.#name)]));
    this.#button.setAttribute("aria-label", `${this.#label || say("download")} ${name}`.trim());
    this.#button.disabled = this.#disabled || this.#name === null;
    this.#button.hidden = running;
    this.#button.setAttribute("aria-busy", String(this.#token !== null && this.#name === null));
    this.#progress.hidden = this.#cancel.hidden = !running;
    this.#progress.setAttribute("aria-label", `${say("downloading")} ${name}`);
    this.#cancel.textContent = say("cancel");
    this.#cancel.setAttribute("aria-label", say("cancelFile", name));
  }
}
