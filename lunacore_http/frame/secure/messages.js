/**
 * Every message that a frame takes, from the page and from frames of its own origin (docs/spec/frame-messages.md).
 */

import { boolean, exactly, integer, listOf, mapping, matching, oneOf, orNull, text } from "./shapes.js";

/** @typedef {import("./shapes.js").Form} Form */
/** @typedef {{type: string} & Record<string, any>} Message */

const CONNECTION = matching(/^[A-Za-z0-9_-]{22}$/);
const ELEMENT = matching(/^[a-z0-9]{1,32}$/);
const TOKEN = matching(/^[\x21-\x7e]{1,256}$/);
const FAILURE = matching(/^[a-z][A-Za-z]{0,39}$/);
const COUNT = integer(0, Number.MAX_SAFE_INTEGER);
// A little more than a value may have in bytes, so that one which is too large is answered and not dropped.
const VALUE = text(1 << 21);
const TOKENS = listOf(TOKEN, 100);

const SETTINGS = exactly(
  {
    label: text(200),
    description: text(500),
    placeholder: text(200),
    type: oneOf("text", "email", "tel", "url", "search", "password"),
    autocomplete: matching(/^[a-z0-9 -]{0,100}$/),
    maxLength: orNull(integer(0, 1 << 20)),
    required: boolean,
    disabled: boolean,
    readOnly: boolean,
    validator: oneOf("", "card", "expiry", "cvc", "ssn", "ein", "email", "phone", "iban", "date"),
    mask: matching(/^(none|[9aAxX ().+:/-]{0,64})$/),
    reveal: boolean,
    lang: matching(/^[a-z]{0,8}$/),
    inputMode: matching(/^[a-z]{0,8}$/),
    enterKeyHint: matching(/^[a-z]{0,8}$/),
    minLength: integer(0, 1 << 20),
    wrap: oneOf("soft", "off"),
    options: listOf(exactly({ value: text(200), label: text(200), disabled: boolean }), 500),
    shuffle: boolean,
    horizontal: boolean,
    multiple: boolean,
    accept: matching(/^[A-Za-z0-9 .,*/+_-]{0,500}$/),
    maxSize: orNull(COUNT),
    maxFiles: orNull(COUNT),
  },
  { partial: true },
);
const FILE = exactly({ filename: text(255), type: text(127), lastModified: integer(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER) });
const STYLE = mapping(/^[a-z-]{1,40}$/, text(500), 40);

/** @type {Readonly<Record<string, Form>>} */
const CONNECT = { connect: shapeOf("connect", { lunacore: integer(1, 1e6), nonce: CONNECTION }) };

/** @type {Readonly<Record<string, Form>>} */
const ATTACH = { attach: shapeOf("attach", { lunacore: integer(1, 1e6), connection: CONNECTION, element: ELEMENT }) };

/** @type {Readonly<Record<string, Form>>} */
const ORDERS = {
  mount: shapeOf("mount", {
    element: ELEMENT,
    kind: oneOf("input", "textarea", "paragraph", "span", "select", "radio", "copy", "upload", "download", "image", "viewer"),
    settings: SETTINGS,
    style: STYLE,
    token: orNull(TOKEN),
    turn: COUNT,
  }),
  set: shapeOf("set", { element: ELEMENT, settings: SETTINGS }),
  style: shapeOf("style", { element: ELEMENT, style: STYLE }),
  show: shapeOf("show", { element: ELEMENT, token: orNull(TOKEN), turn: COUNT }),
  hold: shapeOf("hold", { element: ELEMENT, tokens: TOKENS, turn: COUNT }),
  judge: shapeOf("judge", { element: ELEMENT }),
  commit: shapeOf("commit", { element: ELEMENT, request: COUNT }),
  unmount: shapeOf("unmount", { element: ELEMENT }),
  "session-attempted": shapeOf("session-attempted", {}),
};

/** @type {Readonly<Record<string, Form>>} */
const REPORTS = {
  state: shapeOf("state", {
    turn: COUNT,
    filled: boolean,
    flaw: orNull(oneOf("typeMismatch", "badInput", "patternMismatch")),
    judged: boolean,
  }),
  keeping: shapeOf("keeping", { turn: COUNT }),
  token: shapeOf("token", { turn: COUNT, token: orNull(TOKEN) }),
  tokens: shapeOf("tokens", { turn: COUNT, tokens: TOKENS }),
  committed: shapeOf("committed", { request: COUNT, token: orNull(TOKEN) }),
  failed: shapeOf("failed", { request: orNull(COUNT), name: FAILURE }),
  focused: shapeOf("focused", {}),
  blurred: shapeOf("blurred", {}),
  entered: shapeOf("entered", {}),
};

/** @type {Readonly<Record<string, Form>>} */
const JOBS = {
  put: shapeOf("put", { job: COUNT, text: VALUE }),
  get: shapeOf("get", { job: COUNT, token: TOKEN }),
  "upload-ticket": shapeOf("upload-ticket", { job: COUNT, size: COUNT, fileinfo: FILE }),
  "download-ticket": shapeOf("download-ticket", { job: COUNT, token: TOKEN }),
  "file-info": shapeOf("file-info", { job: COUNT, token: TOKEN }),
};

/** @param {unknown} data from a page that wants to connect */
export const asConnect = (data) => known(data, CONNECT);
/** @param {unknown} data from an element's frame that wants to attach */
export const asAttach = (data) => known(data, ATTACH);
/** @param {unknown} data from the connected page */
export const asOrder = (data) => known(data, ORDERS);
/** @param {unknown} data from an element's frame, for the page */
export const asReport = (data) => known(data, REPORTS);
/** @param {unknown} data from an element's frame, for the hub */
export const asJob = (data) => known(data, JOBS);

/**
 * Say in the console that a message was dropped; what it held is not repeated.
 *
 * @param {string} why
 */
export function dropped(why) {
  console.warn(`LunaCore: dropped a message: ${why}`);
}

/**
 * @param {string} type
 * @param {Readonly<Record<string, Form>>} members
 */
function shapeOf(type, members) {
  return exactly({ type: oneOf(type), ...members });
}

/**
 * @param {unknown} data
 * @param {Readonly<Record<string, Form>>} shapes by type
 * @returns {Message | null}
 */
function known(data, shapes) {
  const type = typeof data === "object" && data !== null && "type" in data ? data.type : null;
  if (typeof type !== "string" || !Object.hasOwn(shapes, type)) return null;
  return shapes[type]?.(data) ? /** @type {Message} */ (data) : null;
}
