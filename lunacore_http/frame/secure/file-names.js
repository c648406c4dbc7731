/**
 * Names of files, which anybody may have chosen: as they can be shown and saved.
 */

const MAX_BYTES = 200;
const MAX_EXTENSION = 16;
const FALLBACK = "file";

// Controls, characters without a picture (those that turn the direction of what follows are among them), line ends, private ones.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}\u{115f}\u{1160}\u{2800}\u{3164}\u{ffa0}]/gu;
// Separators of paths and what else a file system keeps for itself.
const RESERVED = /[/\\:*?"<>|]/g;
// Names that stand for devices on Windows, whatever their extension.
const DEVICE = /^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\.|$)/i;

// What a computer may run when it is opened.
const PROGRAMS = new Set(
  ("apk app appimage appref-ms bat cmd com command cpl csh deb desktop diagcab dll dmg exe gadget hta htm html inf ins iso jar js jse ksh lnk " +
    "mhtml mjs msc msi msix msp mst pif pkg pl ps1 psm1 py pyw rb reg rpm scf scr sct sh shb shs svg swf url vb vbe vbs vhd vhdx ws wsc wsf wsh " +
    "xht xhtml xll xml xsl zsh").split(" "),
);

/**
 * A name that is one line of visible characters, names no folder or device, and fits into every file system.
 *
 * @param {string} given
 * @returns {string}
 */
export function safeName(given) {
  const visible = given.replace(/\p{Cs}/gu, "\ufffd").normalize("NFC").replace(/[\t\r\n]/g, " ").replace(UNSEEN, "").replace(RESERVED, "_");
  // Windows drops dots and spaces at the end; those at the start hide a file.
  const trimmed = visible.replace(/\s+/g, " ").replace(/^[. ]+|[. ]+$/g, "");
  const named = trimmed === "" ? FALLBACK : trimmed;
  return shortened(DEVICE.test(named) ? `_${named}` : named);
}

/**
 * A name in two parts, of which the second tells what the file is, so that both can be shown however long the first.
 *
 * @param {string} name a safe one
 * @returns {[stem: string, extension: string]} the extension with its dot; empty if there is none
 */
export function inParts(name) {
  const dot = name.lastIndexOf(".");
  if (dot <= 0 || name.length - dot > MAX_EXTENSION + 1) return [name, ""];
  return [name.slice(0, dot), name.slice(dot)];
}

/**
 * Whether a computer may run a file of that name when somebody opens it.
 *
 * @param {string} name
 */
export function isProgram(name) {
  return PROGRAMS.has(inParts(name)[1].slice(1).toLowerCase());
}

/** @param {string} name */
function shortened(name) {
  const [stem, extension] = inParts(name);
  let kept = stem;
  while (octets(kept + extension) > MAX_BYTES) kept = [...kept].slice(0, -1).join("");
  return kept.trimEnd() + extension;
}

/** @param {string} text */
function octets(text) {
  return new TextEncoder().encode(text).length;
}
