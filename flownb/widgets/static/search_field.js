// The one search field: finds boxes of the tree, and rows or jobs below it, by a part of their names.

import { html, say } from "./elements.js";

const WAIT = 150; // ms after a key, as more may follow

export class SearchField {
  #found = html("span", { class: "fn-muted", role: "status" });
  #field;
  #search; // called with the text; answers with what was found, in words
  #timer = 0;
  #latest = 0;

  // `entered` is called with the text when a person presses Enter.
  constructor(what, { search, entered }) {
    this.#search = search;
    this.#field = html("input", {
      type: "search",
      placeholder: `find a ${what}`,
      "aria-label": `Find a ${what}`,
      input: () => this.#soon(),
      keydown: (event) => {
        event.stopPropagation(); // Jupyter's own keys
        if (event.key === "Enter") this.#enter(entered);
      },
    });
    this.element = html("span", { class: "fn-find" }, this.#found, this.#field);
  }

  // What is found stands there first: another part may open for it.
  async #enter(entered) {
    clearTimeout(this.#timer);
    await this.#run();
    entered(this.#field.value.trim());
  }

  clear() {
    clearTimeout(this.#timer);
    this.#latest++;
    this.#field.value = "";
    say(this.#found, "");
  }

  #soon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#run(), WAIT);
  }

  async #run() {
    const mine = ++this.#latest;
    const words = await this.#search(this.#field.value.trim());
    if (mine === this.#latest) say(this.#found, words);
  }
}
