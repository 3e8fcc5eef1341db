// The timeline: the kernel draws it, its shapes and text are taken in piece by piece, when flow.js says so.

import { html, svg } from "./elements.js";
import { clock } from "./words.js";

const SHAPES = new Set(["svg", "g", "rect", "path", "polygon", "circle", "text", "title"]);
const FOREIGN = /^(on|xmlns|href|xlink)/i; // attributes that could run or load something
const LONG = 500; // ms the kernel may take before it is said that it reads seldom

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

  constructor(kernel) {
    this.#kernel = kernel;
    const region = { class: "fn-scroll", tabindex: "0", role: "region", "aria-label": "Timeline" };
    this.panel = html("div", region);
  }

  load = async () => {
    const found = await this.#kernel.ask("timeline", { width: this.panel.clientWidth });
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
