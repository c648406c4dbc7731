/**
 * The demo's own script: the panel beside the page, and the lists of what the page hears of its components. It needs no library, and
 * puts texts into the page as texts only.
 */

const EVERY_MS = 800;
const SHOWN = 14;
const HEARD = 10;
const EVENTS = ["ready", "focus", "blur", "valid", "invalid", "progress", "change", "error"];

/**
 * An element with a text, or with others in it.
 *
 * @param {string} tag
 * @param {string} look its class
 * @param {...(string | Node)} inside
 */
function made(tag, look, ...inside) {
  const element = document.createElement(tag);
  if (look !== "") element.className = look;
  element.append(...inside);
  return element;
}

class Panel {
  #calls = /** @type {HTMLElement} */ (document.querySelector("#calls"));
  #row = /** @type {HTMLElement} */ (document.querySelector("#row"));
  #nobody = /** @type {HTMLElement} */ (document.querySelector("#row-empty"));
  #state = /** @type {HTMLElement} */ (document.querySelector("#calls-state"));
  #told = this.#state.textContent;
  /** @type {Set<string>} */
  #known = new Set();
  #first = true;
  #lastRow = "";

  /** Ask for what is new, again and again while the page is looked at. */
  async follow() {
    for (;;) {
      if (!document.hidden) await this.#update();
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
  }

  async #update() {
    try {
      const answer = await fetch("/panel");
      if (!answer.ok) throw new Error(String(answer.status));
      const { calls, row } = await answer.json();
      this.#showRow(row);
      for (const call of calls) this.#showCall(call);
      this.#state.textContent = this.#told;
      this.#first = false;
    } catch {
      this.#state.textContent = "The demo does not answer. Is it still running?";
    }
  }

  /** @param {Record<string, string> | null} row */
  #showRow(row) {
    const text = JSON.stringify(row);
    if (text === this.#lastRow) return;
    this.#lastRow = text;
    this.#nobody.hidden = row !== null;
    const entries = Object.entries(row ?? {});
    this.#row.replaceChildren(
      ...entries.flatMap(([name, value]) => [made("dt", "", name), made("dd", name === "user" ? "" : "token", value)]),
    );
  }

  /** @param {Record<string, any>} call */
  #showCall(call) {
    if (this.#known.has(call.request)) return;
    this.#known.add(call.request);
    this.#calls.prepend(callShown(call, this.#first));
    while (this.#calls.children.length > SHOWN) this.#calls.lastElementChild?.remove();
  }
}

/**
 * @param {Record<string, any>} call
 * @param {boolean} old whether it was there before the page was
 */
function callShown(call, old) {
  const who = call.audit[0]?.role === "application" ? "application" : "browser";
  const refused = call.outcome !== "ok";
  const time = made("time", "", new Date(call.time).toLocaleTimeString([], { hour12: false }));
  time.setAttribute("datetime", call.time);
  const item = made(
    "li",
    old ? "" : "new",
    made(
      "p",
      "call",
      made("span", `who ${who}`, who),
      made("code", "", `${call.method} ${call.route}`),
      made("span", refused ? "outcome refused" : "outcome", refused ? `${call.status} ${call.outcome}` : call.status),
      time,
    ),
  );
  for (const event of call.audit) item.append(auditShown(event));
  return item;
}

/** @param {Record<string, any>} event a line of the audit log */
function auditShown(event) {
  const outcome = made("span", event.outcome === "allowed" ? "" : "refused", event.outcome);
  const about = event.token === undefined ? [] : [made("code", "", `token ${event.token}`)];
  return made(
    "details",
    "",
    made("summary", "", `audit: ${event.action} `, outcome, ...about),
    made("pre", "", made("code", "", JSON.stringify(event, null, 1))),
  );
}

/**
 * Write down every event of the page's components.
 *
 * @param {Element} list
 */
function listen(list) {
  for (const type of EVENTS) {
    addEventListener(
      type,
      (event) => {
        const element = event.target;
        if (!(element instanceof HTMLElement) || !element.localName.startsWith("secure-")) return;
        const detail = /** @type {CustomEvent} */ (event).detail;
        const told = typeof detail === "object" && detail !== null ? ` ${JSON.stringify(detail)}` : "";
        list.append(made("li", "", `${element.localName}: ${type}${told}`));
        while (list.children.length > HEARD) list.firstElementChild?.remove();
      },
      true,
    );
  }
}

for (const list of document.querySelectorAll("[data-heard]")) listen(list);
void new Panel().follow();
