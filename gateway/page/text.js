// SPDX-License-Identifier: Apache-2.0
/*
 * A log line as DOM nodes. Log text is foreign: it only ever becomes text nodes, colours only ever become CSS classes or
 * rgb() values made of three numbers. What is left of control characters is shown as their Unicode pictures.
 */
import Anser from "./vendor/anser.js";

const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
// OSC, DCS and the like with their strings, and CSI sequences that are not colours: no place in a line of a log.
const SEQUENCE = /\u001b(?:\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[PX^_][^\u001b]*\u001b\\|\[[0-?]*[ -/]*[@-ln-~]|[ -/]*[0-OQ-WYZ\\`-~])/g;

function picture(c) {
  const code = c.codePointAt(0);
  if (code < 32) return String.fromCodePoint(0x2400 + code);
  if (code === 127) return "\u2421";
  return `<U+${code.toString(16).toUpperCase().padStart(4, "0")}>`;
}

const harmless = (text) => text.replace(CONTROL, picture);

function marked(parent, text, pattern) {
  let at = 0;
  if (pattern) {
    for (const hit of text.matchAll(pattern)) {
      if (!hit[0]) continue;
      parent.append(text.slice(at, hit.index));
      const mark = document.createElement("mark");
      mark.textContent = hit[0];
      parent.append(mark);
      at = hit.index + hit[0].length;
    }
  }
  parent.append(text.slice(at));
}

const rgb = (value) => (/^\d{1,3}, ?\d{1,3}, ?\d{1,3}$/.test(value) ? `rgb(${value})` : "");
// Programs choose colours for a background that they assume: a share of the theme's own text keeps them readable on ours.
const readable = (colour) => `color-mix(in srgb, ${colour} 50%, currentColor)`;

/** The three numbers of xterm's colour 16 to 255: a cube of six levels, then greys. Anser only names it. */
function palette(value) {
  const n = Number(/^ansi-palette-(\d{1,3})$/.exec(value)?.[1] ?? 0);
  if (n < 16 || n > 255) return "";
  if (n > 231) return Array(3).fill(8 + 10 * (n - 232)).join(", ");
  return [36, 6, 1].map((step) => Math.floor((n - 16) / step) % 6).map((level) => (level ? 55 + 40 * level : 0)).join(", ");
}
const className = (value) => (/^ansi-[a-z0-9-]+$/.test(value) ? value : "");

/** Appends `text` to `parent`; `pattern` (a global RegExp or null) is highlighted. */
export function appendText(parent, text, pattern) {
  if (!text.includes("\u001b")) {
    marked(parent, harmless(text), pattern);
    return;
  }
  for (const piece of Anser.ansiToJson(text.replace(SEQUENCE, ""), { use_classes: true, remove_empty: true })) {
    const span = document.createElement("span");
    for (const [name, value, truecolor] of [["fg", piece.fg, piece.fg_truecolor], ["bg", piece.bg, piece.bg_truecolor]]) {
      if (!value) continue;
      const colour = rgb(value === "ansi-truecolor" ? truecolor : palette(value));
      if (colour && name === "fg") span.style.color = piece.bg ? colour : readable(colour);
      else if (colour) span.style.backgroundColor = colour;
      else if (className(value)) span.classList.add(`${name}-${value}`);
    }
    for (const decoration of piece.decorations ?? []) if (/^[a-z]+$/.test(decoration)) span.classList.add(`ansi-${decoration}`);
    marked(span, harmless(piece.content), pattern);
    if (span.classList.length || span.style.length) parent.append(span);
    else parent.append(...span.childNodes);
  }
}

export function searchPattern(term, ignoreCase) {
  if (!term) return null;
  return new RegExp(term.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), ignoreCase ? "gi" : "g");
}
