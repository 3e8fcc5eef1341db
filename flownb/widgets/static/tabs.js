// The parts below the tree, one at a time: arrow keys go from tab to tab.

import { html, say } from "./elements.js";

export class Tabs {
  #parts; // { label, panel, load }; load reads what a panel shows
  #heads;
  #panels;
  #chosen = 0;

  constructor(parts) {
    this.#parts = parts;
    this.#heads = parts.map(({ label }, n) => this.#head(label, n));
    this.#panels = parts.map(({ label, panel }) =>
      html("div", { role: "tabpanel", "aria-label": label }, panel),
    );
    const list = html("div", { role: "tablist", "aria-label": "Parts of the flow" }, ...this.#heads);
    this.element = html("div", { class: "fn-tabs" }, list, ...this.#panels);
  }

  #head(label, n) {
    const tab = { type: "button", role: "tab", click: () => this.open(n) };
    return html("button", { ...tab, keydown: (event) => this.#walk(event, n) }, label);
  }

  #walk(event, n) {
    const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!way) return;
    event.stopPropagation();
    this.open((n + way + this.#parts.length) % this.#parts.length);
    this.#heads[this.#chosen].focus();
  }

  open(n) {
    this.#chosen = n;
    this.#heads.forEach((head, i) => {
      head.setAttribute("aria-selected", String(i === n));
      head.setAttribute("tabindex", i === n ? "0" : "-1");
    });
    this.#panels.forEach((panel, i) => {
      panel.hidden = i !== n;
    });
    this.reload();
  }

  reload() {
    return this.#parts[this.#chosen].load();
  }

  rename(n, label) {
    say(this.#heads[n], label);
  }
}
