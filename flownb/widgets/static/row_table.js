// The rows of a batch, a page at a time: the kernel searches, filters and sorts, also among a million.

import { button, html, link, say } from "./elements.js";
import { hideEmpty, Pages, SortedHeadings, showLines } from "./paged_table.js";
import { retryButton } from "./retry_button.js";
import { counted, duration, number, stateWord } from "./words.js";

export const ROW_STATES = ["failed", "active", "completed", "waiting", "delayed", "prioritized", "removed"];
// heading, what it is sorted by, kind of cell
const ROW_COLUMNS = [
  ["row", "row", "fn-text"],
  ["state", "state", "fn-text"],
  ["attempts", "attempts", "fn-number"],
  ["ran", "seconds", "fn-number"],
  ["spent", "spent", "fn-number fn-spent"],
  ["inputs", null, "fn-short"],
  ["result or error", null, "fn-short"],
  ["last line", null, "fn-short"],
  ["code", null, "fn-short"],
];
const MAYBE_EMPTY_OF_ROWS = { spent: 12 }; // columns -> where a line has what stands in them
const ASK_AGAIN = 700; // ms, while the kernel still reads

function rowRangeWords({ rows: { length }, of, start, known, searched, total, most }, isChosen) {
  const range = length
    ? `${number(start + 1)} to ${number(start + length)} of ${counted(of, "row")}`
    : `no such row${isChosen ? " among those chosen" : ""}`;
  const labels = searched < total ? `, ${number(searched)} of ${number(total)} labels searched` : "";
  const read = known < total ? `, ${number(known)} of ${number(total)} rows read` : "";
  const found = most === null ? "" : `, among the first ${number(most)} labels found`;
  return range + found + labels + read;
}

// What a cell has no room for is seen when it is pointed at.
function sayShort(cell, words) {
  say(cell, words);
  cell.title = words ?? "";
}

export class RowTable {
  #model;
  #kernel;
  #picked;
  #states = html("select", { "aria-label": "State", change: () => this.#pages.first() });
  #kind = button("", () => this.#dropKind(), { class: "fn-button fn-chip" });
  #ofKind = html("span", { class: "fn-buttons", hidden: "" }); // what is said and done of the chosen kind
  #rows = html("tbody");
  #query = { text: "", kind: "", sort: null, descending: false };
  #pages;
  #table;
  #again = 0;
  #pictures = new Map(); // by position, as the kernel sent them

  // `picked` is called with the position of a row, `retry` with a kind of failure.
  constructor(model, kernel, { picked, retry }) {
    this.#model = model;
    this.#kernel = kernel;
    this.#picked = picked;
    this.#pages = new Pages(kernel, () => this.load());
    const wordOf = (state) => stateWord(model.get("badges"), state);
    const choices = ROW_STATES.map((state) => html("option", { value: state }, wordOf(state)));
    this.#states.append(html("option", { value: "" }, "all states"), ...choices);
    const headings = new SortedHeadings(this.#query, () => this.#pages.first());
    headings.draw(ROW_COLUMNS);
    this.#table = html("table", { class: "fn-jobs fn-rows", "aria-label": "Rows" });
    this.#table.append(html("thead", {}, headings.element), this.#rows);
    this.#ofKind.append(this.#kind, ...retryButton("Retry these", () => retry(this.#query.kind)));
    const bar = this.#pages.bar(this.#states, this.#ofKind);
    this.panel = html("div", {}, bar, html("div", { class: "fn-scroll" }, this.#table));
  }

  // The rows of one kind of failure, which is said in `words`, whatever was chosen before.
  ofKind(kind, words) {
    this.ofAll();
    Object.assign(this.#query, { kind, text: "" });
    this.#ofKind.hidden = false;
    say(this.#kind, `only ${words} ×`);
    this.#kind.title = "Show rows of all kinds";
    return this.#pages.first();
  }

  // Of any kind, in any state.
  ofAll() {
    this.#query.kind = "";
    this.#ofKind.hidden = true;
    this.#states.value = "";
  }

  // The rows in one state, of any kind.
  inState(state) {
    this.ofAll();
    this.#query.text = "";
    this.#states.value = state;
    return this.#pages.first();
  }

  #dropKind() {
    this.#query.kind = "";
    this.#ofKind.hidden = true;
    return this.#pages.first();
  }

  search(text) {
    this.#query.text = text;
    return this.#pages.first();
  }

  load = async () => {
    clearTimeout(this.#again);
    const { start } = this.#pages;
    const found = await this.#pages.read("rows", { state: this.#states.value, ...this.#query });
    if (!found) return undefined;
    if (start && !found.rows.length) return this.#pages.first(); // there are fewer by now
    this.#pages.show(found.next);
    say(this.#pages.status, rowRangeWords(found, Boolean(this.#query.kind || this.#states.value)));
    hideEmpty(this.#table, found.rows, MAYBE_EMPTY_OF_ROWS, this.#query.sort);
    showLines(
      this.#rows,
      found.rows,
      () => this.#emptyRow(),
      (row, line) => this.#fill(row, line),
    );
    const reads = found.known < found.total || found.searched < found.total;
    if (reads && this.panel.isConnected) this.#again = setTimeout(this.load, ASK_AGAIN);
    return found;
  };

  #emptyRow() {
    const pick = link("", () => this.#picked(Number(row.dataset.position)));
    const cells = ROW_COLUMNS.slice(2).map(([, , kind]) => html("td", { class: kind }));
    const state = html("td", {}, html("span", { class: "fn-state" }), html("span", { class: "fn-muted" }));
    const row = html("tr", {}, html("td", {}, pick), state, ...cells);
    return row;
  }

  #fill(
    row,
    [position, label, state, progress, attempts, ran, version, inputs, value, error, line, picture, spent],
  ) {
    row.dataset.position = position;
    const [labelCell, stateCell, attemptsCell, ranCell, spentCell, inputsCell, ...rest] = row.children;
    const [valueCell, lineCell, codeCell] = rest;
    say(labelCell.firstChild, label);
    say(stateCell.firstChild, stateWord(this.#model.get("badges"), state));
    stateCell.firstChild.setAttribute("class", `fn-state fn-${state}`);
    say(stateCell.lastChild, progress && ` ${progress}`);
    say(attemptsCell, attempts ? String(attempts) : "");
    say(ranCell, duration(ran));
    say(spentCell, spent);
    sayShort(inputsCell, inputs);
    valueCell.classList.toggle("fn-bad", Boolean(error));
    this.#fillValue(valueCell, position, error || value, picture);
    sayShort(lineCell, line);
    sayShort(codeCell, version);
  }

  async #fillValue(cell, position, words, picture) {
    if (!picture) {
      sayShort(cell, words);
      return;
    }
    if (!this.#pictures.has(position)) {
      this.#pictures.set(position, this.#kernel.ask("thumbnail", { position }));
    }
    const found = await this.#pictures.get(position);
    if (cell.parentElement.dataset.position !== String(position)) return;
    if (cell.firstChild?.src === (found.picture ?? undefined)) return;
    if (!found.picture) say(cell, words);
    else cell.replaceChildren(html("img", { class: "fn-thumbnail", src: found.picture, alt: words }));
  }
}
