/**
 * What all components share: a closed shadow root with a frame in it, and its place at the page's connection.
 */

import { appearanceOf, watchAppearance } from "./appearance.js";
import { connection, visibleFrame } from "./connection.js";

/** @typedef {import("./connection.js").Message} Message */
/** @typedef {"input" | "textarea" | "paragraph" | "span" | "select" | "radio" | "copy" | "upload" | "download" | "image" | "viewer"} Kind */

const MAX_LABEL = 200;
/** The page's <meta> that names the language of the frames, where it is not that of the text around. */
const LANGUAGE = 'meta[name="lunacore-lang"]';
const MAX_DESCRIPTION = 500;

const SHEET = new CSSStyleSheet();
SHEET.replaceSync(`
  :host { position: relative; display: inline-block; box-sizing: border-box; overflow: clip; vertical-align: middle; }
  :host([hidden]) { display: none; }
  :host(:where(:enabled, :disabled)) {
    inline-size: 16em; block-size: 2.25em; padding: 0.25em 0.5em; border: 1px solid; border-radius: 0.25em;
    background-color: Field; color: FieldText; text-align: start;
  }
  :host(:disabled) { background-color: color-mix(in srgb, Field, GrayText 12%); color: GrayText; }
  :host(:state(invalid)) { border-color: light-dark(#b3261e, #f2b8b5); }
  :host(:state(focused)) { outline: 2px solid Highlight; outline-offset: 1px; }
  :host(secure-span) { inline-size: 12em; block-size: 1.5em; }
  :host(secure-paragraph) { display: block; block-size: 6em; }
  iframe { position: absolute; inset: 0; inline-size: 100%; block-size: 100%; border: 0; background: transparent; color-scheme: inherit; }
  iframe:not(.ready) { background: linear-gradient(currentcolor, currentcolor) 0.5em 50% / 6em 0.4em no-repeat; opacity: 0.25; }
`);

export class SecureElement extends HTMLElement {
  #root = this.attachShadow({ mode: "closed", delegatesFocus: true });
  /** @type {import("./connection.js").Connection | null} */
  #connection = null;
  #name = "";
  /** @type {HTMLIFrameElement | null} */
  #frame = null;
  /** @type {() => void} */
  #unwatch = () => {};
  #texts = new MutationObserver(() => this.refresh());
  #drawing = 0;
  /** Counts what the frame was told to hold. */
  #turn = 0;

  /** Style of its own. @returns {CSSStyleSheet[]} */
  get sheets() {
    return [];
  }

  /** What the frame is to be. @returns {Kind} */
  get kind() {
    throw new TypeError("every component says its kind");
  }

  /** The document of its frame; add-ons have their own. */
  get document() {
    return "element";
  }

  /** What the frame may do beside running our script: for its attributes `allow` and `sandbox`. */
  get rights() {
    return { allow: "", sandbox: "" };
  }

  /** The token that the frame begins with. @returns {string | null} */
  get firstToken() {
    return this.getAttribute("token") || null;
  }

  /** @returns {Record<string, unknown>} */
  get settings() {
    const language = document.querySelector(LANGUAGE)?.getAttribute("content") ?? this.closest("[lang]")?.getAttribute("lang");
    return { label: this.label, lang: /^[a-z]{0,8}/.exec(language?.toLowerCase() ?? "")?.[0] ?? "" };
  }

  /** What the component is called, for those who do not see its surroundings. */
  get label() {
    return (this.getAttribute("aria-label") ?? textOf(this.getAttribute("aria-labelledby"))).slice(0, MAX_LABEL);
  }

  /** The elements of the page whose text the frame is told. @returns {(Element | null)[]} */
  get sources() {
    return [...namedBy(this.getAttribute("aria-labelledby")), ...namedBy(this.getAttribute("aria-describedby"))];
  }

  /** What is further said about it. */
  get description() {
    return (this.getAttribute("aria-description") ?? textOf(this.getAttribute("aria-describedby"))).slice(0, MAX_DESCRIPTION);
  }

  /** The frame, as an anchor of the browser's own messages. */
  get anchor() {
    return this.#frame ?? undefined;
  }

  /**
   * Take over properties that were set before the script was there to say what they mean.
   *
   * @param {...string} names
   */
  takeProperties(...names) {
    for (const name of names.filter((one) => Object.hasOwn(this, one))) {
      const value = Reflect.get(this, name);
      Reflect.deleteProperty(this, name);
      Reflect.set(this, name, value);
    }
  }

  /** Whether it has a frame. */
  get framed() {
    return this.#connection !== null;
  }

  connectedCallback() {
    // What has no role cannot have a name. As an attribute, since checkers do not see what ElementInternals have.
    if (!this.hasAttribute("role") && (!("formAssociated" in this.constructor) || this.matches("[aria-label], [aria-labelledby]"))) this.setAttribute("role", "group");
    this.takeProperties("token");
    const shared = connection();
    const { element, address } = shared.element(this.document, (report) => this.hear(report));
    this.#connection = shared;
    this.#name = element;
    this.#frame = visibleFrame(this.label || "Secure field", address, this.rights);
    this.#root.adoptedStyleSheets = [SHEET, ...this.sheets];
    this.#root.replaceChildren(this.#frame);
    this.order({
      type: "mount",
      kind: this.kind,
      settings: this.settings,
      style: appearanceOf(this),
      token: this.firstToken,
      turn: ++this.#turn,
    });
    this.#unwatch = watchAppearance(this, () => this.redraw());
  }

  disconnectedCallback() {
    this.#unwatch();
    this.#texts.disconnect();
    this.#connection?.forget(this.#name);
    this.#connection = null;
    this.#root.replaceChildren();
  }

  /**
   * Send an order to the frame; none before there is one.
   *
   * @param {Message} order
   */
  order(order) {
    this.#connection?.send({ ...order, element: this.#name });
  }

  /**
   * Have the frame hold the text of a token, or nothing.
   *
   * @param {string | null} token
   */
  show(token) {
    this.order({ type: "show", token, turn: ++this.#turn });
  }

  /** Send the settings anew. */
  refresh() {
    if (this.#frame !== null) this.#frame.title = this.label || "Secure field";
    this.order({ type: "set", settings: this.settings });
    this.#texts.disconnect();
    for (const source of this.sources) source && this.#texts.observe(source, { childList: true, characterData: true, subtree: true });
  }

  /**
   * Hear what the frame reports.
   *
   * @param {Message} report
   */
  hear(report) {
    if (report.type === "lost") return this.reconnect();
    if (report.type === "ready") this.#ready();
    // What answers a request is told to whoever made it.
    if (report.type === "failed" && report.request === null) this.dispatchEvent(new CustomEvent("error", { detail: { name: report.name } }));
  }

  /**
   * Whether a report is about what the frame holds now, and not about what it held before.
   *
   * @param {Message} report
   */
  isCurrent(report) {
    return report.turn === this.#turn;
  }

  /** Begin anew with another frame, if there is one. */
  reconnect() {
    if (this.#connection === null) return;
    this.disconnectedCallback();
    this.connectedCallback();
  }

  #ready() {
    this.#frame?.classList.add("ready");
    // Labels may have come after the element.
    this.refresh();
    this.dispatchEvent(new Event("ready"));
  }

  /** Have the inside look like the outside, which may look otherwise now. */
  redraw() {
    cancelAnimationFrame(this.#drawing);
    this.#drawing = requestAnimationFrame(() => this.order({ type: "style", style: appearanceOf(this) }));
  }
}

/**
 * The text of the elements that an attribute names.
 *
 * @param {string | null} ids
 */
function textOf(ids) {
  return namedBy(ids).map((element) => element?.textContent?.trim() ?? "").join(" ").trim();
}

/** @param {string | null} ids */
function namedBy(ids) {
  return (ids ?? "").split(/\s+/).map((id) => (id === "" ? null : document.getElementById(id)));
}
