// What tables that the kernel reads a page at a time share: pages, headings that sort, lines that stay.

import { button, html, say } from "./elements.js";

export class Pages {
  #kernel;
  #load; // reads the page at `start`
  #starts = [0]; // of the pages from the first to the wanted one: a refresh meanwhile reads that one, too
  #following = null;
  #latest = 0;
  status = html("span", { class: "fn-muted", role: "status" });
  before = button("Previous", () => this.#turn(-1));
  after = button("Next", () => this.#turn(1));

  constructor(kernel, load) {
    this.#kernel = kernel;
    this.#load = load;
  }

  // The bar above the table: the table's own tools, what is shown, the buttons that turn the page.
  bar(...tools) {
    const gap = html("span", { class: "fn-gap" });
    const turning = html("span", { class: "fn-buttons" }, this.before, this.after);
    return html("div", { class: "fn-bar-of-tools" }, ...tools, this.status, gap, turning);
  }

  get start() {
    return this.#starts.at(-1);
  }

  first() {
    this.#starts = [0];
    return this.#load();
  }

  // A second click before the answer asks for the same page.
  #turn(way) {
    if (way < 0 && this.#starts.length > 1) this.#starts.pop();
    if (way > 0 && this.start < this.#following) this.#starts.push(this.#following);
    this.#load();
  }

  // Answers with the wanted page; with nothing where another is wanted by then, or none could be read.
  async read(what, query) {
    const mine = ++this.#latest;
    const found = await this.#kernel.ask(what, { start: this.start, ...query });
    if (mine !== this.#latest) return undefined;
    if (!found.error) return found;
    say(this.status, found.error);
    return undefined;
  }

  // `next` is where the page behind the shown one begins; null where there is none.
  show(next) {
    this.#following = next;
    this.before.disabled = this.#starts.length < 2;
    this.after.disabled = next === null;
    this.before.hidden = this.after.hidden = next === null && this.#starts.length < 2;
  }
}

export class SortedHeadings {
  #query; // { sort, descending }, which a press changes
  #sorted; // called then
  #falls; // says of a column whether it is asked for from the largest on
  #columns = [];
  element = html("tr");

  constructor(query, sorted, falls = () => false) {
    this.#query = query;
    this.#sorted = sorted;
    this.#falls = falls;
  }

  // Columns are [words, what they are sorted by or null, kind of cell].
  draw(columns) {
    this.#columns = columns;
    const focused = [...this.element.children].findIndex((cell) => cell.contains(document.activeElement));
    this.element.replaceChildren(...columns.map((column) => this.#heading(column)));
    this.element.children[focused]?.firstChild.focus?.();
  }

  #heading([words, sort, kind]) {
    if (!sort) return html("th", { class: kind, scope: "col" }, words);
    const { descending } = this.#query;
    const isSorted = this.#query.sort === sort;
    const arrow = isSorted ? (descending ? " ↓" : " ↑") : "";
    const order = isSorted ? (descending ? "descending" : "ascending") : "none";
    const press = html("button", { type: "button", click: () => this.#order(sort) }, words + arrow);
    return html("th", { class: kind, scope: "col", "aria-sort": order }, press);
  }

  #order(column) {
    const { sort, descending } = this.#query;
    this.#query.descending = sort === column ? !descending : this.#falls(column);
    this.#query.sort = column;
    this.draw(this.#columns);
    this.#sorted();
  }
}

// Rows and cells are kept and their words changed: scroll, focus and selection stay.
export function showLines(body, lines, make, fill) {
  while (body.childElementCount > lines.length) body.lastChild.remove();
  lines.forEach((line, n) => {
    if (!body.children[n]) body.append(make());
    fill(body.children[n], line);
  });
}

// Columns in which no line has anything are not shown, but for the one that lines are sorted by. `columns`
// says where a line has what stands in each.
export function hideEmpty(table, lines, columns, sorted) {
  for (const [name, place] of Object.entries(columns)) {
    const isEmpty = lines.every((line) => !line[place]);
    table.classList.toggle(`fn-no-${name}`, isEmpty && sorted !== name);
  }
}
