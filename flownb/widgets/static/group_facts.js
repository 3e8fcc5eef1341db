// How the jobs of one box of the tree are doing: counts, rate, how long they take, which take longest.

import { html, link, say } from "./elements.js";
import { duration, number, stateWord } from "./words.js";

const figure = (rate) => (rate >= 10 ? number(Math.round(rate)) : String(Math.round(10 * rate) / 10));

export function rateWords(rate) {
  if (!rate) return "";
  if (rate >= 1) return `${figure(rate)} a second`;
  return rate * 60 >= 1 ? `${figure(rate * 60)} a minute` : `${figure(rate * 3600)} an hour`;
}

export class GroupFacts {
  #model;
  #picked; // called with what a person chooses
  #title = html("h3");
  #counts = html("ul", { class: "fn-plain" });
  #facts = html("dl");
  #heading = html("h4", {}, "slowest");
  #slowest = html("ul", { class: "fn-plain fn-slowest" });
  #box;

  constructor(model, box, { picked }) {
    this.#model = model;
    this.#picked = picked;
    this.#box = box;
    const parts = [this.#title, this.#counts, this.#facts, this.#heading, this.#slowest];
    this.element = html("div", {}, ...parts);
  }

  update({ name, counts, rate, p50, p95, failed_share: failed, spent, slowest }) {
    say(this.#title, name || this.#box.name);
    const badges = this.#model.get("badges");
    const lines = counts.map(([state, count]) => {
      const tone = badges[state] ? state : "unknown";
      const words = ` ${number(count)} ${stateWord(badges, state)}`;
      return html("li", { class: `fn-${tone}` }, html("span", { class: "fn-swatch" }), words);
    });
    this.#counts.replaceChildren(...lines);
    const facts = [
      ["failed", failed],
      ["rate", rateWords(rate)],
      ["median", duration(p50)],
      ["95 % within", duration(p95)],
      ["spent", spent],
    ].filter(([, value]) => value);
    const pairs = facts.flatMap(([fact, value]) => [html("dt", {}, fact), html("dd", {}, value)]);
    this.#facts.replaceChildren(...pairs);
    this.#heading.hidden = !slowest.length;
    this.#updateSlowest(slowest);
  }

  #updateSlowest(slowest) {
    while (this.#slowest.childElementCount > slowest.length) this.#slowest.lastChild.remove();
    slowest.forEach(([chosen, label, ran], n) => {
      if (!this.#slowest.children[n]) {
        const name = link("", () => this.#picked(this.#slowest.children[n].chosen));
        this.#slowest.append(html("li", {}, name, html("span", { class: "fn-muted" })));
      }
      const line = this.#slowest.children[n];
      line.chosen = chosen;
      say(line.firstChild, label);
      say(line.lastChild, ` ${duration(ran)}`);
    });
  }
}
