// The timeline: the kernel draws it, its shapes and text are taken in piece by piece, when flow.js says so.

import { html, svg } from "./elements.js";
import { clock } from "./words.js";

const SHAPES = new Set(["svg", "g", "rect", "path", "polygon", "circle", "text", "title"]);
const FOREIGN = /^(on|xmlns|href|xlink)/i; // attributes that could run or load something
const LONG = 500; // ms the kernel may take before it is said that it reads seldom
const SETTLED = 200; // ms after the panel has another width, as it may go on changing

function copied(node) {
  if (node.nodeType === Node.TEXT_NODE) return node.textContent;
  if (node.nodeType !== Node.ELEMENT_NODE || !SHAPES.has(node.localName)) return null;
  const made = svg(node.localName);
  for (const { name, value } of node.attributes) {
    if (!FOREIGN.test(name)) made.setAttribute(name, value);
  }
  made.append(...[...node.childNodes].map(copied).filter((part) => part !== null));
  return made;
}

const adopted = (text) => copied(new DOMParser().parseFromString(text, "image/svg+xml").documentElement);

export class Timeline {
  #kernel;
  #resized;
  #drawn = 0; // the width of the panel that it was drawn for
  #took = 0; // ms of the kernel
  #timer = 0;

  constructor(kernel) {
    this.#kernel = kernel;
    const region = {
      class: "fn-scroll fn-timeline",
      tabindex: "0",
      role: "region",
      "aria-label": "Timeline",
    };
    this.panel = html("div", region);
    this.#resized = new ResizeObserver(() => this.#refit());
    this.#resized.observe(this.panel);
  }

  close() {
    clearTimeout(this.#timer);
    this.#resized.disconnect();
  }

  // The picture shrinks and grows with its panel at once; soon after it is drawn for that width.
  #refit() {
    const width = this.panel.clientWidth;
    clearTimeout(this.#timer);
    if (!width || !this.#drawn || width === this.#drawn || this.#took > LONG) return;
    this.#timer = setTimeout(this.load, SETTLED);
  }

  load = async () => {
    const width = this.panel.clientWidth;
    const found = await this.#kernel.ask("timeline", { width });
    [this.#drawn, this.#took] = [width, found.took];
    if (found.error) this.panel.replaceChildren(html("p", { class: "fn-error" }, found.error));
    else this.panel.replaceChildren(found.took > LONG ? this.#late() : "", adopted(found.svg));
    return found;
  };

  #late() {
    const read = clock(Date.now());
    const words = `As of ${read}: so many jobs are read seldom. A click on Timeline reads them now.`;
    return html("p", { class: "fn-muted fn-limit" }, words);
  }
}
