// The parts below the tree, one at a time: arrow keys go from tab to tab. The search field is beside them.

import { html, say } from "./elements.js";

export class Tabs {
  #parts; // { label, panel, load }; load reads what a panel shows
  #left;
  #heads;
  #panels;
  #chosen = 0;
  #inUse = false; // a person has chosen a part, or uses one: nothing opens by itself any more

  // `left` is called when another part is opened.
  constructor(parts, beside, { left }) {
    this.#parts = parts;
    this.#left = left;
    const page = Math.random().toString(36).slice(2);
    this.#heads = parts.map((part, n) => this.#head(part, n, `fn-${page}-${n}`));
    this.#panels = parts.map(({ label, panel }, n) =>
      html("div", { role: "tabpanel", "aria-label": label, id: `fn-${page}-${n}` }, panel),
    );
    const list = html("div", { role: "tablist", "aria-label": "Parts of the flow" }, ...this.#heads);
    const bar = html("div", { class: "fn-tab-bar" }, list, html("span", { class: "fn-gap" }), beside);
    const use = () => {
      this.#inUse = true;
    };
    this.element = html("div", { class: "fn-tabs", pointerdown: use, input: use }, bar, ...this.#panels);
  }

  #head({ label }, n, panel) {
    const tab = { type: "button", role: "tab", "aria-controls": panel, click: () => this.choose(n) };
    return html("button", { ...tab, keydown: (event) => this.#walk(event, n) }, label);
  }

  #walk(event, n) {
    const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!way) return;
    event.stopPropagation();
    this.choose((n + way + this.#parts.length) % this.#parts.length);
    this.#heads[this.#chosen].focus();
  }

  choose(n) {
    this.#inUse = true;
    this.open(n);
  }

  get chosen() {
    return this.#chosen;
  }

  // Opens a part unless a person uses another one.
  suggest(n) {
    if (!this.#inUse && this.#chosen !== n) this.open(n);
  }

  open(n) {
    if (this.#chosen !== n) this.#left();
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
