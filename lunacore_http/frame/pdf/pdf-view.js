/**
 * A PDF, drawn by PDF.js in a document that has no origin: whatever a file might make of PDF.js, it reaches neither the tokenizer nor
 * the frames beside, and has no connection to anywhere (docs/decisions/0045).
 */

// Bound at run time, since nothing is known of their types.
const LIBRARY = "./pdf.min.mjs";
const WORKER = "./pdf.worker.min.mjs";

/** Of a page in a wide box: 144 dots for an inch. */
const MAX_SCALE = 2;
/** Of a page's picture; beyond it browsers give up. */
const MAX_PIXELS = 1 << 24;
const MAX_PAGES = 2_000;

/** What is asked of PDF.js: no code made of a file, no worker, nothing fetched. */
const OPTIONS = { isEvalSupported: false, useWorkerFetch: false, useWasm: false, enableXfa: false, stopAtErrors: false, verbosity: 0 };

addEventListener("message", async (event) => {
  const port = event.ports[0];
  if (event.source !== parent || port === undefined) return;
  try {
    await show(event.data.bytes, event.data.label);
    port.postMessage("shown");
  } catch {
    port.postMessage("damaged");
  }
}, { once: true });

if (parent !== self) parent.postMessage("pdf-ready", new URL(location.href).origin);

/**
 * @param {ArrayBuffer} bytes
 * @param {string} label
 */
async function show(bytes, label) {
  await import(WORKER);
  const { TextLayer, getDocument } = await import(LIBRARY);
  const file = await getDocument({ ...OPTIONS, data: bytes }).promise;
  const main = document.body;
  main.setAttribute("aria-label", label);
  const first = await file.getPage(1);
  const { width, height } = first.getViewport({ scale: 1 });
  const count = Math.min(file.numPages, MAX_PAGES);
  const pages = Array.from({ length: count }, (_, place) => new Page(file, TextLayer, place + 1, width / height));
  main.append(...pages.map((page) => page.element));
  const byElement = new Map(pages.map((page) => [page.element, page]));
  const observer = new IntersectionObserver(
    (seen) => {
      for (const one of seen) void byElement.get(/** @type {HTMLElement} */ (one.target))?.see(one.isIntersecting);
    },
    { rootMargin: "100%" },
  );
  for (const page of pages) observer.observe(page.element);
  let timer = 0;
  addEventListener("resize", () => {
    clearTimeout(timer);
    timer = setTimeout(() => pages.forEach((page) => page.redraw()), 200);
  });
  await pages[0]?.see(true);
}

/** One page, which is drawn while it is in sight or close to it. */
class Page {
  element = document.createElement("section");
  #file;
  #TextLayer;
  #number;
  #seen = false;
  #drawing = 0;

  /**
   * @param {any} file
   * @param {any} TextLayer
   * @param {number} number
   * @param {number} ratio what it is taken to be, as long as it is not known
   */
  constructor(file, TextLayer, number, ratio) {
    this.#file = file;
    this.#TextLayer = TextLayer;
    this.#number = number;
    this.element.style.aspectRatio = String(ratio);
    this.element.setAttribute("role", "group");
    this.element.setAttribute("aria-label", String(number));
  }

  /** @param {boolean} seen */
  async see(seen) {
    if (seen === this.#seen) return;
    this.#seen = seen;
    if (seen) await this.#draw();
    else this.#clear();
  }

  redraw() {
    if (this.#seen) void this.#draw().catch(reportError);
  }

  #clear() {
    this.#drawing++;
    this.element.replaceChildren();
  }

  async #draw() {
    const drawing = ++this.#drawing;
    const page = await this.#file.getPage(this.#number);
    const flat = page.getViewport({ scale: 1 });
    this.element.style.aspectRatio = String(flat.width / flat.height);
    this.element.style.maxInlineSize = `${flat.width * MAX_SCALE}px`;
    const scale = Math.min(MAX_SCALE, (this.element.clientWidth || 600) / flat.width);
    const viewport = page.getViewport({ scale });
    const density = Math.min(devicePixelRatio || 1, Math.sqrt(MAX_PIXELS / (viewport.width * viewport.height)));
    const canvas = document.createElement("canvas");
    canvas.width = Math.floor(viewport.width * density);
    canvas.height = Math.floor(viewport.height * density);
    canvas.setAttribute("role", "presentation");
    await page.render({ canvas, viewport, transform: [density, 0, 0, density, 0, 0] }).promise;
    const text = document.createElement("div");
    text.className = "textLayer";
    text.style.setProperty("--total-scale-factor", String(scale));
    await new this.#TextLayer({ textContentSource: page.streamTextContent(), container: text, viewport }).render();
    if (drawing === this.#drawing) this.element.replaceChildren(canvas, text);
    page.cleanup();
  }
}
