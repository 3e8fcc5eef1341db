// The table of jobs, a page at a time: the kernel sorts and searches.

import { html, link, say } from "./elements.js";
import { Pages, SortedHeadings, showLines } from "./paged_table.js";
import { counted, duration, number, stateWord } from "./words.js";

const STATES = ["failed", "active", "completed", "waiting", "delayed", "prioritized", "waiting-children"];
const NUMBERS = ["attempts", "waited", "ran"];

// The choices of a list are written once: a list that is open on the page would close.
function options(select, all, values, wordOf = (value) => value) {
  const chosen = select.value;
  if (select.childElementCount === values.length + 1) return;
  const choices = values.map((value) => html("option", { value }, wordOf(value)));
  select.replaceChildren(html("option", { value: "" }, all), ...choices);
  select.value = chosen;
}

function rangeWords({ rows: { length }, of, searched, among, next }, start) {
  if (of === 0) return "no such job";
  if (of !== null) return `${number(start + 1)} to ${number(start + length)} of ${counted(of, "job")}`;
  const more = next === null ? "" : "; Next searches on";
  return `${number(length)} found, ${number(searched)} of ${counted(among, "job")} searched${more}`;
}

function limitWords({ sortable, most_sorted: most }, shared) {
  const unsorted =
    `Over ${number(most)} jobs are not sorted: failed ones first, then as added. ` +
    "Choose a queue or “failed” for fewer.";
  const inside = "Rows share jobs here; those that failed are under Failures.";
  return [sortable ? "" : unsorted, shared ? inside : ""].join(" ").trim();
}

export class JobTable {
  #model;
  #picked; // called with the key of a job
  #states = html("select", { "aria-label": "State", change: () => this.#pages.first() });
  #queues = html("select", { "aria-label": "Queue", change: () => this.#pages.first() });
  #rows = html("tbody");
  #limit = html("p", { class: "fn-muted fn-limit" });
  #query = { text: "", sort: null, descending: false }; // the text is of a name
  #pages;
  #headings = new SortedHeadings(this.#query, () => this.#pages.first());
  #wordOf = (state) => stateWord(this.#model.get("badges"), state);
  #headed = "";

  constructor(model, kernel, { picked }) {
    this.#model = model;
    this.#picked = picked;
    this.#pages = new Pages(kernel, () => this.load());
    const table = html("table", { class: "fn-jobs", "aria-label": "Jobs" });
    table.append(html("thead", {}, this.#headings.element), this.#rows);
    this.panel = html(
      "div",
      {},
      this.#pages.bar(this.#states, this.#queues),
      this.#limit,
      html("div", { class: "fn-scroll" }, table),
    );
  }

  search(text) {
    this.#query.text = text;
    return this.#pages.first();
  }

  async load() {
    const { queues, shared } = this.#model.get("head");
    const { start } = this.#pages;
    options(this.#states, "all states", STATES, this.#wordOf);
    options(this.#queues, "all queues", queues);
    const chosen = { state: this.#states.value, queue: this.#queues.value };
    const found = await this.#pages.read("jobs", { ...chosen, ...this.#query });
    if (!found) return undefined;
    if (start && found.of !== null && start >= found.of) return this.#pages.first(); // there are fewer by now
    say(this.#limit, limitWords(found, shared));
    this.#pages.show(found.next);
    say(this.#pages.status, rangeWords(found, start));
    this.#showHeadings(found);
    showLines(
      this.#rows,
      found.rows,
      () => this.#emptyRow(),
      (row, job) => this.#fill(row, job),
    );
    return found;
  }

  #showHeadings({ columns, sortable }) {
    const now = JSON.stringify([columns, sortable]);
    if (now === this.#headed) return;
    this.#headed = now;
    const kindOf = (column) => (NUMBERS.includes(column) ? "fn-number" : "fn-text");
    this.#headings.draw(columns.map((column) => [column, sortable ? column : null, kindOf(column)]));
  }

  #emptyRow() {
    const kinds = ["fn-number", "fn-number", "fn-number", "fn-message"];
    const row = html(
      "tr",
      {},
      html(
        "td",
        {},
        link("", () => this.#picked(row.dataset.key)),
      ),
      html("td"),
      html("td", {}, html("span", { class: "fn-state" })),
      ...kinds.map((kind) => html("td", { class: kind })),
    );
    return row;
  }

  #fill(row, [key, name, queue, state, attempts, waited, ran, error]) {
    row.dataset.key = key;
    const [nameCell, queueCell, stateCell, attemptsCell, waitedCell, ranCell, errorCell] = row.children;
    say(nameCell.firstChild, name);
    say(queueCell, queue);
    say(stateCell.firstChild, this.#wordOf(state));
    stateCell.firstChild.setAttribute("class", `fn-state fn-${state}`);
    say(attemptsCell, String(attempts));
    say(waitedCell, duration(waited));
    say(ranCell, duration(ran));
    say(errorCell, error || "");
  }
}
