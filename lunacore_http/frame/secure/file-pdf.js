/**
 * The document that draws a PDF, within the frame of a viewer. It has no origin and no connection: what comes of a hostile file stays in it.
 */

import { made } from "./file-row.js";
import { Refused } from "./refused.js";

const DRAW_MS = 60_000;

/**
 * A box with the PDF in it.
 *
 * @param {Blob} value
 * @param {string} label
 * @param {(box: HTMLElement) => void} put into this document, where alone it loads
 * @throws {Refused} `damaged`
 */
export async function drawPdf(value, label, put) {
  const bytes = await value.arrayBuffer();
  const frame = document.createElement("iframe");
  frame.className = "pdf";
  frame.setAttribute("sandbox", "allow-scripts");
  frame.title = label;
  frame.src = "/frame/pdf";
  const box = made("div", "pdf");
  // Within a shadow root no page can count it, nor find its window.
  const sheet = new CSSStyleSheet();
  sheet.replaceSync("iframe { display: block; inline-size: 100%; block-size: 100%; border: 0; }");
  const root = box.attachShadow({ mode: "closed" });
  root.adoptedStyleSheets = [sheet];
  root.append(frame);
  const drawn = answerOf(frame, bytes, label);
  put(box);
  if ((await drawn) !== "shown") throw new Refused("damaged");
}

/**
 * @param {HTMLIFrameElement} frame
 * @param {ArrayBuffer} bytes
 * @param {string} label
 * @returns {Promise<string>}
 */
function answerOf(frame, bytes, label) {
  return new Promise((resolve) => {
    const timer = setTimeout(() => end("timeout"), DRAW_MS);
    /** @param {MessageEvent} event */
    const ready = (event) => {
      if (event.source !== frame.contentWindow || event.source === null || event.origin !== "null") return;
      const channel = new MessageChannel();
      channel.port1.onmessage = (answer) => end(String(answer.data));
      // It has no origin that could be named. Nobody but this document can reach its window.
      frame.contentWindow?.postMessage({ bytes, label }, "*", [channel.port2, bytes]);
    };
    /** @param {string} answer */
    function end(answer) {
      clearTimeout(timer);
      removeEventListener("message", ready);
      resolve(answer);
    }
    addEventListener("message", ready);
  });
}
