// The tools above the tree: search, fold, zoom.

import { button, html, say } from "./elements.js";
import { counted } from "./words.js";

export class TreeTools {
  #fold;

  constructor(tree, { fold, whole }) {
    const small = (sign, label, click) => button(sign, click, { "aria-label": label, title: label });
    this.#fold = small("fold", "Fold the opened groups again", fold);
    this.element = html(
      "div",
      { class: "fn-tools" },
      ...(whole ? searchField(tree) : []),
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

function searchField(tree) {
  const found = html("span", { class: "fn-muted", role: "status" });
  const field = html("input", {
    type: "search",
    placeholder: "find a job",
    "aria-label": "Find in the tree",
    input: () => {
      const count = tree.search(field.value);
      say(found, count === null ? "" : counted(count, "match").replace("matchs", "matches"));
    },
    keydown: (event) => event.stopPropagation(),
  });
  return [field, found, html("span", { class: "fn-gap" })];
}
