/**
 * Forms wait: a submit is held back until every secure field in it has its token, and then goes on as it was.
 */

/** @type {WeakSet<Document>} */
const watched = new WeakSet();
/** @type {WeakSet<HTMLFormElement>} */
const settled = new WeakSet();
/** @type {WeakSet<HTMLFormElement>} */
const settling = new WeakSet();

/**
 * @typedef {Element & {settle: () => Promise<string | null>}} Settles
 */

/**
 * Hold back the submits of a document's forms.
 *
 * @param {Document} page
 */
export function settleBeforeSubmit(page) {
  if (watched.has(page)) return;
  watched.add(page);
  page.addEventListener("submit", hold, true);
}

/** @param {SubmitEvent} event */
function hold(event) {
  const form = event.target;
  if (!(form instanceof HTMLFormElement)) return;
  if (settled.delete(form)) return;
  const fields = [...form.elements].filter(settles);
  if (fields.length === 0) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  if (!settling.has(form)) void submitSettled(form, fields, event.submitter);
}

/**
 * @param {HTMLFormElement} form
 * @param {Settles[]} fields
 * @param {HTMLElement | null} submitter
 */
async function submitSettled(form, fields, submitter) {
  settling.add(form);
  try {
    await Promise.all(fields.map((field) => field.settle()));
  } catch {
    return; // the field itself says what failed, and its event tells the page
  } finally {
    settling.delete(form);
  }
  settled.add(form);
  form.requestSubmit(stillSubmits(submitter, form) ? submitter : undefined);
  // A form that turned out invalid was not submitted.
  settled.delete(form);
}

/**
 * Whether a button may still submit the form; a page may have taken it away meanwhile.
 *
 * @param {HTMLElement | null} submitter
 * @param {HTMLFormElement} form
 */
function stillSubmits(submitter, form) {
  return submitter !== null && "form" in submitter && submitter.form === form;
}

/**
 * @param {Element} element
 * @returns {element is Settles}
 */
function settles(element) {
  return "settle" in element && typeof element.settle === "function";
}
