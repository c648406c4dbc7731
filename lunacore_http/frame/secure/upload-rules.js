/**
 * Which files are taken: those that the page's `accept`, `max-size` and `max-files` allow. The page is not told of any that are not.
 */

import { safeName } from "./file-names.js";
import { say } from "./texts.js";

/** The most that one element takes. */
export const MOST = 100;

/** @typedef {{accept: string, maxSize: number | null}} Rules */

/**
 * What is wrong with a file.
 *
 * @param {Rules} rules
 * @param {File} file
 * @returns {string} for the person; empty if nothing is
 */
export function objection({ accept, maxSize }, file) {
  if (!accepted(accept, file)) return say("fileWrongKind", safeName(file.name));
  if (maxSize !== null && file.size > maxSize) return say("fileTooLarge", safeName(file.name));
  return "";
}

/**
 * Whether a file is of a kind in a list, as HTML's `accept` has it: extensions, types, and types of which only the first part counts.
 *
 * @param {string} accept
 * @param {File} file
 */
export function accepted(accept, file) {
  const kinds = accept.toLowerCase().split(",").map((kind) => kind.trim()).filter(Boolean);
  const name = file.name.toLowerCase();
  const type = file.type.toLowerCase();
  return kinds.length === 0 || kinds.some((kind) => isOf(kind, name, type));
}

/**
 * @param {string} kind
 * @param {string} name
 * @param {string} type
 */
function isOf(kind, name, type) {
  if (kind.startsWith(".")) return name.endsWith(kind);
  return kind.endsWith("/*") ? type.startsWith(kind.slice(0, -1)) : type === kind;
}
