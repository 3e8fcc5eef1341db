// The tools above the tree: fold, zoom.

import { button, html } from "./elements.js";

export class TreeTools {
  #fold;

  constructor(tree, { fold }) {
    const small = (sign, label, click) => button(sign, click, { "aria-label": label, title: label });
    this.#fold = small("fold", "Fold the opened groups again", fold);
    this.element = html(
      "div",
      { class: "fn-tools" },
      this.#fold,
      small("−", "Smaller", () => tree.viewport.zoom(0.8)),
      small("+", "Larger", () => tree.viewport.zoom(1.25)),
      small("fit", "Show all of it", () => tree.viewport.fitAll()),
    );
  }

  update({ opened = [] }) {
    this.#fold.hidden = !opened.length;
  }
}
