// A batch in one line while it runs: name, bar, how far it is; the rest of the view unfolds below it.

import { html, say } from "./elements.js";
import { duration, stillWords } from "./words.js";

const FAILED_IN_LINE = /(\d[\d,]* failed)/;
const ENDED_STATES = ["completed", "failed"];

export class CompactLine {
  isFolded = true;
  #model;
  #root; // of the view
  #fold = html("button", { type: "button", class: "fn-fold", click: () => this.#turn(!this.isFolded) });
  #name = html("span", { class: "fn-title" });
  #track = html("div", { class: "fn-track" });
  #words = html("span", { class: "fn-said" });
  #said = null;

  constructor(model) {
    this.#model = model;
    this.element = html("div", { class: "fn-line" }, this.#fold, this.#name, this.#track, this.#words);
  }

  // Called once the line stands in its view.
  start(root) {
    this.#root = root;
    this.#turn(true);
  }

  #turn(isFolded) {
    this.isFolded = isFolded;
    this.#root.classList.toggle("fn-folded", isFolded);
    this.#fold.setAttribute("aria-expanded", String(!isFolded));
    const what = isFolded ? "Show the tree and what failed" : "Show one line";
    this.#fold.setAttribute("aria-label", what);
    this.#fold.title = what;
    say(this.#fold, isFolded ? "▸" : "▾ one line");
  }

  // `now` by the server's clock; `stale`: the kernel does not answer, nobody knows how far it is by now.
  update(now, stale) {
    const head = this.#model.get("head");
    const { name = "", line = [], counts = [], total = 0, created, finished } = head;
    const [counted, rest] = line;
    const still = stale ? "" : stillWords(head, now);
    const took = finished ? `took ${duration(finished - created)}` : "";
    const said = [counted, still, rest, took, stale ? "not live" : ""].filter(Boolean).join(" · ");
    if (said === this.#said) return;
    this.#said = said;
    say(this.#name, name);
    const [before, failed, after] = said.split(FAILED_IN_LINE);
    const parts = failed ? [before, html("span", { class: "fn-bad" }, failed), after] : [said];
    this.#words.replaceChildren(...parts);
    const shares = counts.filter(([state]) => ENDED_STATES.includes(state));
    const ended = shares.reduce((sum, [, count]) => sum + count, 0);
    const share = (kind, count) => html("span", { class: kind, style: `flex-grow:${count}` });
    const bar = shares.map(([state, count]) => share(`fn-share fn-${state}`, count));
    this.#track.replaceChildren(...bar, ...(total > ended ? [share("", total - ended)] : []));
  }
}
