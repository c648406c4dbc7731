/**
 * Files that a person chooses, and that become tokens one by one: the inside of <secure-upload>.
 *
 * The page is told that something is under way, and, when nothing is any more, which tokens there are. It learns no name, no size,
 * no type, no progress, and nothing of a file that was not taken: see docs/decisions/0045.
 */

import { fileInfo, uploadTicket } from "./file-jobs.js";
import { FileRow, button, made, sizeText } from "./file-row.js";
import { sendFile } from "./file-upload.js";
import { nameOf } from "./refused.js";
import { say } from "./texts.js";
import { MOST, objection } from "./upload-rules.js";

/** @typedef {import("./link.js").Link} Link */
/** @typedef {import("./messages.js").Message} Message */

/**
 * @typedef {{row: FileRow, file: File | null, token: string | null, state: "waiting" | "sending" | "kept" | "failed" | "loading" | "unknown",
 *   name: string, ending: AbortController}} Item `name` is that of the failure
 */

/** How many are sent at a time. */
const AT_ONCE = 2;
const PASSING = new Set(["network", "timeout", "storeUnavailable", "sessionMissing"]);
/** After these nothing is gained by trying again. */
const FINAL = new Set(["fileChanged", "tooLarge", "sessionMismatch"]);

export class Uploads {
  #link;
  #zone = made("div", "zone");
  #choose = button("choose", () => this.#input.click());
  #hint = made("span", "hint");
  #input = made("input", "");
  #list = made("ul", "list");
  #objections = made("p", "objections");
  #said = made("p", "said");
  #description = made("span", "");
  /** @type {Item[]} */
  #items = [];
  /** The first ones stay, so that no page tries one rule after another on a file. @type {import("./upload-rules.js").Rules | null} */
  #rules = null;
  #settings = { label: "", required: false, disabled: false, readOnly: false, multiple: false, maxFiles: /** @type {number | null} */ (null) };
  #turn = 0;
  #busy = false;
  #told = "";
  /** Whoever waits until nothing is under way. @type {(() => void)[]} */
  #waiting = [];

  /** @param {Link} link */
  constructor(link) {
    this.#link = link;
    this.#input.type = "file";
    this.#input.hidden = true;
    this.#objections.setAttribute("role", "alert");
    this.#objections.id = "objections";
    this.#said.setAttribute("role", "status");
    this.#description.id = "description";
    this.#choose.setAttribute("aria-describedby", "hint description objections");
    this.#hint.id = "hint";
    this.#zone.append(this.#choose, this.#hint);
    document.body.dataset.kind = "upload";
    document.body.prepend(this.#zone, this.#input, this.#objections, this.#list, this.#said, this.#description);
    this.#listen();
  }

  /** @param {Record<string, any>} settings */
  set(settings) {
    this.#settings = { ...this.#settings, ...settings };
    this.#rules ??= { accept: settings.accept ?? "", maxSize: settings.maxSize ?? null };
    if ("description" in settings) this.#description.textContent = settings.description;
    this.#input.multiple = this.#settings.multiple;
    this.#input.accept = this.#rules.accept;
    this.#draw();
    this.#tellState();
  }

  /**
   * @param {string | null} token
   * @param {number} turn
   */
  async show(token, turn) {
    this.#hold(token === null ? [] : [token], turn);
  }

  /** @param {Message} order */
  order(order) {
    if (order.type === "hold") this.#hold(order.tokens, order.turn);
    if (order.type === "show") void this.show(order.token, order.turn);
    if (order.type === "commit") void this.#commit(order.request);
    if (order.type === "judge") this.#judge();
    if (order.type === "recheck") for (const item of this.#items) if (item.file === null) void this.#learn(item);
  }

  #listen() {
    this.#input.addEventListener("change", () => {
      this.#add([...(this.#input.files ?? [])]);
      this.#input.value = "";
    });
    // What is dropped beside the zone would replace this document.
    for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
      document.addEventListener(type, (event) => this.#drag(/** @type {DragEvent} */ (event)));
    }
    document.addEventListener("paste", (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length > 0) this.#add(files);
    });
    addEventListener("focus", () => {
      this.#link.report({ type: "focused" });
      // The whole frame was given the focus, as a click on a label does.
      if (document.activeElement === document.body) this.#choose.focus();
    });
    addEventListener("blur", () => this.#link.report({ type: "blurred" }));
    addEventListener("online", () => this.#retryAll((item) => PASSING.has(item.name)));
  }

  /** @param {DragEvent} event */
  #drag(event) {
    event.preventDefault();
    const transfer = event.dataTransfer;
    const takes = this.#takes && (transfer?.types.includes("Files") ?? false);
    if (transfer !== null && event.type !== "drop") transfer.dropEffect = takes ? "copy" : "none";
    this.#zone.classList.toggle("over", takes && (event.type === "dragenter" || event.type === "dragover"));
    if (event.type !== "drop" || transfer === null || !takes) return;
    const items = [...transfer.items].filter((item) => item.kind === "file");
    const folders = items.filter((item) => item.webkitGetAsEntry()?.isDirectory);
    const files = items.filter((item) => !folders.includes(item)).map((item) => item.getAsFile());
    this.#add(files.filter((file) => file !== null), folders.length > 0 ? [say("fileFolder")] : []);
  }

  get #takes() {
    return !this.#settings.disabled && !this.#settings.readOnly;
  }

  get #most() {
    return this.#settings.multiple ? Math.min(this.#settings.maxFiles ?? MOST, MOST) : 1;
  }

  /**
   * Take files that a person chose.
   *
   * @param {File[]} files
   * @param {string[]} [objections] what is wrong already
   */
  #add(files, objections = []) {
    if (!this.#takes) return;
    const rules = this.#rules ?? { accept: "", maxSize: null };
    for (const file of this.#settings.multiple ? files : files.slice(0, 1)) {
      const wrong = objection(rules, file);
      // The one that is there makes room, as in every field for one file.
      if (wrong === "" && !this.#settings.multiple) for (const item of [...this.#items]) this.#drop(item);
      if (wrong !== "") objections.push(wrong);
      else if (this.#items.length < this.#most) this.#append(file);
      else objections.push(say("fileTooMany", String(this.#most)));
    }
    this.#objections.textContent = [...new Set(objections)].slice(0, 4).join(". ");
    this.#pump();
  }

  /** @param {File} file */
  #append(file) {
    const item = this.#item(file, null, "waiting");
    item.row.call(file.name);
    this.#drawItem(item);
  }

  /**
   * @param {File | null} file
   * @param {string | null} token
   * @param {Item["state"]} state
   */
  #item(file, token, state) {
    const row = new FileRow({ retry: () => this.#retry(item), remove: () => this.#remove(item) });
    /** @type {Item} */
    const item = { row, file, token, state, name: "", ending: new AbortController() };
    this.#items.push(item);
    this.#list.append(row.element);
    return item;
  }

  /**
   * Hold the files of these tokens, and nothing else.
   *
   * @param {string[]} tokens
   * @param {number} turn the page's number of this
   */
  #hold(tokens, turn) {
    if (turn !== this.#turn) this.#told = "";
    this.#turn = turn;
    for (const item of [...this.#items]) this.#drop(item);
    this.#objections.textContent = this.#said.textContent = "";
    this.#busy = false;
    for (const token of tokens) void this.#learn(this.#item(null, token, "loading"));
    this.#draw();
    this.#tellState();
    this.#settle();
  }

  /**
   * Find out what the file of a token is called.
   *
   * @param {Item} item
   */
  async #learn(item) {
    item.state = "loading";
    item.row.call("");
    this.#drawItem(item);
    try {
      item.row.call((await fileInfo(this.#link, item.token ?? "")).filename ?? "");
      item.state = "kept";
    } catch (error) {
      item.state = "unknown";
      item.name = nameOf(error);
      this.#link.failShowing(item.name);
    }
    this.#drawItem(item);
  }

  /** Send what waits, as many at a time as may be. */
  #pump() {
    const free = AT_ONCE - this.#items.filter((item) => item.state === "sending").length;
    for (const item of this.#items.filter((one) => one.state === "waiting").slice(0, Math.max(0, free))) void this.#send(item);
    this.#draw();
    this.#tellState();
    this.#settle();
  }

  /** @param {Item} item */
  async #send(item) {
    const file = /** @type {File} */ (item.file);
    item.state = "sending";
    item.row.progress(0);
    this.#drawItem(item);
    try {
      const ticket = await uploadTicket(this.#link, file);
      await sendFile(ticket, file, item.ending.signal, (part) => item.row.progress(part));
      item.token = ticket.token;
      item.state = "kept";
    } catch (error) {
      item.state = "failed";
      item.name = nameOf(error);
    }
    if (!this.#items.includes(item)) return; // it was taken out meanwhile, and is nobody's
    this.#said.textContent = say(item.state === "kept" ? "fileKeptSaid" : "fileFailedSaid", item.row.name);
    this.#drawItem(item);
    this.#pump();
  }

  /** Tell the page when something begins to be under way, and when nothing is any more. */
  #settle() {
    const busy = this.#items.some((item) => item.state === "waiting" || item.state === "sending");
    if (busy && !this.#busy) this.#link.report({ type: "keeping", turn: this.#turn });
    if (!busy && this.#busy) this.#tellTokens();
    this.#busy = busy;
    if (!busy) for (const done of this.#waiting.splice(0)) done();
  }

  #tellTokens() {
    this.#link.report({ type: "tokens", turn: this.#turn, tokens: this.#tokens });
    const failed = this.#items.find((item) => item.state === "failed");
    if (failed !== undefined) this.#link.report({ type: "failed", request: null, name: failed.name });
  }

  get #tokens() {
    return this.#items.flatMap((item) => item.token ?? []);
  }

  /** @param {Item} item */
  #retry(item) {
    if (item.file === null) return void this.#learn(item);
    item.state = "waiting";
    this.#drawItem(item);
    this.#pump();
    item.row.focus();
  }

  /** @param {(item: Item) => boolean} which of those that failed */
  #retryAll(which) {
    const failed = this.#items.filter((item) => (item.state === "failed" || item.state === "unknown") && which(item));
    for (const item of failed) {
      if (item.file === null) void this.#learn(item);
      else item.state = "waiting";
      this.#drawItem(item);
    }
    this.#pump();
  }

  /**
   * What a person takes out of the list, or ends while it is sent.
   *
   * @param {Item} item
   */
  #remove(item) {
    const place = this.#items.indexOf(item);
    this.#drop(item);
    this.#said.textContent = say("fileRemovedSaid", item.row.name);
    this.#objections.textContent = "";
    const next = this.#items[Math.min(place, this.#items.length - 1)];
    this.#pump();
    if (next === undefined) this.#choose.focus();
    else next.row.focus();
    if (item.token !== null && !this.#busy) this.#tellTokens();
  }

  /** @param {Item} item */
  #drop(item) {
    this.#items = this.#items.filter((one) => one !== item);
    item.ending.abort();
    item.row.element.remove();
  }

  /** @param {number} request */
  async #commit(request) {
    this.#retryAll(() => true);
    while (this.#busy) await new Promise((resolve) => this.#waiting.push(() => resolve(null)));
    const failed = this.#items.find((item) => item.state === "failed");
    if (failed !== undefined) this.#link.report({ type: "failed", request, name: failed.name });
    // Which tokens there are was told before.
    else this.#link.report({ type: "committed", request, token: null });
  }

  #judge() {
    const missing = this.#settings.required && this.#items.length === 0;
    this.#objections.textContent = missing ? say("fileMissing") : this.#objections.textContent;
    this.#choose.setAttribute("aria-invalid", String(missing));
  }

  #tellState() {
    const told = { type: "state", turn: this.#turn, filled: this.#items.length > 0, flaw: null, judged: false };
    if (JSON.stringify(told) === this.#told) return;
    this.#told = JSON.stringify(told);
    this.#choose.removeAttribute("aria-invalid");
    this.#link.report(told);
  }

  #draw() {
    const { label, multiple, required, disabled } = this.#settings;
    const many = multiple ? "s" : "";
    this.#choose.textContent = say(`chooseFile${many}`);
    this.#choose.setAttribute("aria-label", [label, say(`chooseFile${many}`)].filter(Boolean).join(": "));
    this.#hint.textContent = say(`dropFile${many}`);
    this.#choose.disabled = disabled;
    this.#choose.toggleAttribute("data-required", required);
    this.#zone.hidden = this.#settings.readOnly;
    this.#list.setAttribute("aria-label", [label, say("files")].filter(Boolean).join(": "));
    this.#list.hidden = this.#items.length === 0;
    for (const item of this.#items) this.#drawItem(item);
  }

  /** @param {Item} item */
  #drawItem(item) {
    item.row.show({
      state: item.state,
      text: statusOf(item),
      retry: item.state === "unknown" || (item.state === "failed" && !FINAL.has(item.name)),
      busy: item.state === "waiting" || item.state === "sending",
      fixed: !this.#takes,
    });
  }
}

/** @param {Item} item */
function statusOf({ state, file, name }) {
  if (state === "loading") return say("fileLoading");
  if (state === "failed" && name === "tooLarge") return say("fileOversized");
  if (state === "failed" || state === "unknown") return say(name);
  return file === null ? "" : sizeText(file.size);
}
