// One box of the tree: drawn once where the kernel says, then only its colours and words change.

import { svg } from "./elements.js";

const FAILED_PART = /(\d[\d,]* failed(?: \([\d.e-]+ %\))?)/;

// What failed stands out in a note.
function write(note, text) {
  if (note.textContent === text) return;
  const parts = text.split(FAILED_PART);
  note.replaceChildren(...parts.map((part, n) => (n % 2 ? svg("tspan", { class: "fn-bad" }, part) : part)));
}

// Boxes are as wide as their words in one font; in a wider one words end early, and the title has the whole.
function fitText(text, whole, room) {
  write(text, whole);
  const wide = text.getComputedTextLength();
  let most = wide > room ? Math.ceil((whole.length * room) / wide) : whole.length;
  while (most > 1 && text.getComputedTextLength() > room) {
    write(text, `${whole.slice(0, most).trimEnd()}…`);
    most -= 1;
  }
}

function drawBadge({ paths, solid }, radius) {
  const symbol = paths.map(([d, filled]) =>
    svg("path", { class: filled ? "fn-sign fn-filled" : "fn-sign", d }),
  );
  return svg(
    "g",
    { class: solid ? "fn-badge fn-solid" : "fn-badge" },
    svg("circle", { r: radius }),
    ...symbol,
  );
}

// The parts of a stacked bar as [state, from, width]; a single failed job of thousands is seen.
function barParts(shares, width, least) {
  const total = shares.reduce((sum, [, count]) => sum + count, 0);
  const widths = shares.map(([, count]) => Math.max((width * count) / total, least));
  const scale = width / widths.reduce((sum, part) => sum + part, 0);
  let from = 0;
  return shares.map(([state], n) => {
    const part = [state, from, widths[n] * scale];
    from += widths[n] * scale;
    return part;
  });
}

export class NodeBox {
  #badges;
  #sizes;
  #title = svg("title");
  #badge;
  #name;
  #notes;
  #words = []; // of the notes, whole
  #bar = svg("g", { class: "fn-bar" });
  #shown = "";

  constructor(box, badges, sizes) {
    this.box = box;
    this.#badges = badges;
    this.#sizes = sizes;
    const [x, y, width, height] = box.rect;
    const { outlines, badge, name, notes } = box.parts;
    const shapes = outlines.map((offset) =>
      svg("rect", { class: "fn-box", x: offset, y: -offset, width, height, rx: sizes.corner }),
    );
    this.#badge = svg("g", { transform: `translate(${badge.join(" ")})` });
    this.#name = svg("text", { class: "fn-name", x: name[0], y: name[1] }, box.name);
    this.#notes = notes.map(([left, baseline]) => svg("text", { class: "fn-note", x: left, y: baseline }));
    const parts = [this.#title, ...shapes, this.#badge, this.#name, ...this.#notes, this.#bar];
    this.group = svg("g", { transform: `translate(${x} ${y})`, role: "button", tabindex: "-1" }, ...parts);
  }

  update([tone, notes, shares, title, badge = tone]) {
    const now = JSON.stringify([tone, notes, shares, title, badge]);
    if (now === this.#shown) return;
    this.#shown = now;
    const failed = badge === "failed" ? " fn-has-failed" : "";
    this.group.setAttribute("class", `fn-node fn-${tone}${failed}`);
    this.#badge.setAttribute("class", `fn-${badge}`);
    this.group.setAttribute("aria-label", title);
    if (this.#title.textContent !== title) this.#title.textContent = title;
    this.#badge.replaceChildren(drawBadge(this.#badges[badge] || this.#badges.unknown, this.#sizes.badge));
    this.#words = notes;
    this.fitWords();
    this.#drawBar(shares);
  }

  fitWords() {
    const room = this.box.rect[2] - this.#sizes.textMargin;
    fitText(this.#name, this.box.name, room);
    this.#notes.forEach((note, n) => {
      fitText(note, this.#words[n] || "", room);
    });
  }

  #drawBar(shares) {
    if (!this.box.parts.bar) return;
    const [x, y, width, height] = this.box.parts.bar;
    const begun = barParts(shares, width, this.#sizes.share).filter(([state]) => state); // not what comes yet
    const parts = begun.map(([state, from, wide]) => {
      const tone = this.#badges[state] ? state : "unknown";
      return svg("rect", { class: `fn-part fn-${tone}`, x: x + from, y, width: wide, height });
    });
    this.#bar.replaceChildren(...parts);
  }
}
