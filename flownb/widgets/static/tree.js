// The tree: drawn once for each shape of the flow, then recoloured; which box is chosen, and the keys.

import { svg } from "./elements.js";
import { NodeBox } from "./node_box.js";
import { Viewport } from "./viewport.js";

const ROOT = "n0";
const UNSAID = ["unknown", [], [], ""]; // of a box the kernel has said nothing of yet

function drawArrow({ path, head, optional }) {
  const kind = optional ? "fn-edge fn-optional" : "fn-edge";
  return svg("g", { class: kind }, svg("path", { d: path }), svg("polygon", { points: head }));
}

function drawNote({ note, width, height }) {
  return svg("text", { class: "fn-note", x: width / 2, y: height - 14, "text-anchor": "middle" }, note);
}

export class Tree {
  #model;
  #pick; // called with the box a person chooses
  #world = svg("g");
  #nodes = new Map(); // id -> NodeBox
  #parents = new Map(); // child -> parent
  #focus = ROOT; // the one box a Tab goes to; arrow keys walk on from it
  #chosen = null; // the key of a box
  #searched = "";
  #resized;

  constructor(model, { most, pick }) {
    this.#model = model;
    this.#pick = pick;
    const label = "Tree of jobs: arrow keys walk, Enter opens";
    this.canvas = svg("svg", { class: "fn-canvas", role: "group", "aria-label": label }, this.#world);
    this.viewport = new Viewport(this.canvas, this.#world, () => model.get("frame"), most);
    this.canvas.addEventListener("keydown", (event) => this.#press(event));
    this.#resized = new ResizeObserver(() => this.#resize());
    this.#resized.observe(this.canvas);
  }

  close() {
    this.viewport.close();
    this.#resized.disconnect();
  }

  // Also when the canvas comes onto the page, where words can be measured.
  #resize() {
    for (const node of this.#nodes.values()) node.fitWords();
    this.viewport.fit();
  }

  draw() {
    const frame = this.#model.get("frame");
    const { nodes = [], arrows = [], shift = [0, 0], note = "", sizes } = frame;
    const focused = this.canvas.contains(document.activeElement);
    const key = this.#nodes.get(this.#focus)?.box.key;
    const badges = this.#model.get("badges");
    this.#nodes = new Map(nodes.map((box) => [box.id, new NodeBox(box, badges, sizes)]));
    this.#parents = new Map(arrows.map(({ child, parent }) => [child, parent]));
    const groups = [...this.#nodes.values()].map((node) => node.group);
    const moved = { transform: `translate(${shift.join(" ")})` };
    const picture = svg("g", moved, ...arrows.map(drawArrow), ...groups);
    this.#world.replaceChildren(picture, ...(note ? [drawNote(frame)] : []));
    this.#listen();
    this.#say(UNSAID);
    this.#rove(nodes.find((box) => box.key === key)?.id || ROOT);
    this.viewport.fit();
    if (focused) this.#nodes.get(this.#focus)?.group.focus();
  }

  #listen() {
    for (const [id, { group, box }] of this.#nodes) {
      group.addEventListener("click", () => {
        if (!this.viewport.dragged) this.#choose(id);
      });
      group.addEventListener("focus", () => {
        this.#rove(id);
        this.viewport.reveal(box.rect);
      });
    }
  }

  update() {
    this.#say(null);
  }

  #say(otherwise) {
    const said = this.#model.get("nodes");
    for (const [id, node] of this.#nodes) {
      const words = said[id] || otherwise;
      if (words) node.update(words);
    }
    this.#emphasize();
  }

  // ---- what was chosen and searched for stays so when a box says something else, or is drawn anew --------

  #emphasize() {
    for (const node of this.#nodes.values()) {
      node.group.classList.toggle("fn-chosen", node.box.key === this.#chosen);
      node.group.classList.toggle("fn-dim", Boolean(this.#searched) && !this.#isFound(node));
    }
  }

  #isFound({ box }) {
    return box.name.toLowerCase().includes(this.#searched);
  }

  // How many boxes have `text` in their name; null when nothing is searched for.
  search(text) {
    this.#searched = text.trim().toLowerCase();
    this.#emphasize();
    if (!this.#searched) return null;
    const found = [...this.#nodes.values()].filter((node) => this.#isFound(node));
    if (found.length) this.viewport.reveal(found[0].box.rect);
    return found.length;
  }

  #choose(id) {
    const { box } = this.#nodes.get(id);
    this.#rove(id);
    this.#mark(box.key);
    this.#pick(box);
  }

  #mark(key) {
    this.#chosen = key;
    this.#emphasize();
  }

  // Also a box that is drawn in a moment only.
  mark(key) {
    this.#mark(key);
    const box = [...this.#nodes.values()].find((node) => node.box.key === key)?.box;
    if (box) this.viewport.reveal(box.rect);
  }

  // No box is chosen any more; the focus comes back here with a person who leaves the panel beside the tree.
  unmark(leaving) {
    this.#mark(null);
    if (leaving) this.#nodes.get(this.#focus)?.group.focus();
  }

  // ---- one Tab stop for the whole tree; arrow keys walk in it --------------------------------------------

  #rove(id) {
    this.#nodes.get(this.#focus)?.group.setAttribute("tabindex", "-1");
    this.#focus = id;
    this.#nodes.get(this.#focus)?.group.setAttribute("tabindex", "0");
  }

  #press(event) {
    const keys = {
      "+": () => this.viewport.zoom(1.25),
      "-": () => this.viewport.zoom(0.8),
      0: () => this.viewport.fitAll(),
      Enter: () => this.#choose(this.#focus),
      " ": () => this.#choose(this.#focus),
    };
    if (event.key.startsWith("Arrow")) this.#nodes.get(this.#next(event.key))?.group.focus();
    else if (keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
    event.stopPropagation(); // Jupyter's own keys
  }

  #next(key) {
    if (key === "ArrowUp") return this.#parents.get(this.#focus);
    if (key === "ArrowDown") return this.#children(this.#focus)[0];
    const row = this.#children(this.#parents.get(this.#focus));
    return row[row.indexOf(this.#focus) + (key === "ArrowRight" ? 1 : -1)];
  }

  #children(id) {
    return [...this.#parents].filter(([, parent]) => parent === id).map(([child]) => child);
  }
}
