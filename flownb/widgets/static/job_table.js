// The table of jobs, a page at a time: the kernel sorts and searches.

import { button, html, link, say } from "./elements.js";
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
  #kernel;
  #picked; // called with the key of a job
  #states = html("select", { "aria-label": "State", change: () => this.#first() });
  #queues = html("select", { "aria-label": "Queue", change: () => this.#first() });
  #head = html("tr");
  #rows = html("tbody");
  #status = html("span", { class: "fn-muted", role: "status" });
  #before = button("Previous", () => this.#previous());
  #after = button("Next", () => this.#next());
  #limit = html("p", { class: "fn-muted fn-limit" });
  #starts = [0]; // of the pages from the first to the wanted one: a refresh meanwhile reads that one, too
  #following = null;
  #sort = null;
  #descending = false;
  #latest = 0;
  #wordOf = (state) => stateWord(this.#model.get("badges"), state);
  #headed = "";

  constructor(model, kernel, { picked }) {
    this.#model = model;
    this.#kernel = kernel;
    this.#picked = picked;
    const gap = html("span", { class: "fn-gap" });
    const tools = [this.#states, this.#queues, this.#status, gap, this.#before, this.#after];
    const table = { class: "fn-jobs", "aria-label": "Jobs" };
    this.panel = html(
      "div",
      {},
      html("div", { class: "fn-bar-of-tools" }, ...tools),
      this.#limit,
      html("div", { class: "fn-scroll" }, html("table", table, html("thead", {}, this.#head), this.#rows)),
    );
  }

  #order(column) {
    this.#descending = this.#sort === column && !this.#descending;
    this.#sort = column;
    this.#first();
  }

  #first() {
    this.#starts = [0];
    return this.load();
  }

  // A second click before the answer asks for the same page.
  #next() {
    if (this.#starts.at(-1) < this.#following) this.#starts.push(this.#following);
    this.load();
  }

  #previous() {
    if (this.#starts.length > 1) this.#starts.pop();
    this.load();
  }

  load = async () => {
    const { queues, shared } = this.#model.get("head");
    const mine = ++this.#latest;
    const start = this.#starts.at(-1);
    options(this.#states, "all states", STATES, this.#wordOf);
    options(this.#queues, "all queues", queues);
    const found = await this.#kernel.ask("jobs", {
      start,
      state: this.#states.value,
      queue: this.#queues.value,
      sort: this.#sort,
      descending: this.#descending,
    });
    if (mine !== this.#latest) return undefined;
    if (found.error) {
      say(this.#status, found.error);
      return undefined;
    }
    if (start && found.of !== null && start >= found.of) return this.#first(); // there are fewer by now
    say(this.#limit, limitWords(found, shared));
    this.#show(found, start);
    return found;
  };

  #show(found, start) {
    this.#following = found.next;
    this.#before.disabled = this.#starts.length < 2;
    this.#after.disabled = this.#following === null;
    say(this.#status, rangeWords(found, start));
    this.#showHeadings(found);
    this.#showRows(found.rows);
  }

  #showHeadings({ columns, sortable }) {
    const now = JSON.stringify([columns, sortable, this.#sort, this.#descending]);
    if (now === this.#headed) return;
    this.#headed = now;
    const focused = [...this.#head.children].findIndex((cell) => cell.contains(document.activeElement));
    this.#head.replaceChildren(...columns.map((column) => this.#heading(column, sortable)));
    this.#head.children[focused]?.firstChild.focus?.();
  }

  #heading(column, sortable) {
    const kind = NUMBERS.includes(column) ? "fn-number" : "fn-text";
    if (!sortable) return html("th", { class: kind }, column);
    const sorted = this.#sort === column;
    const order = this.#descending ? "descending" : "ascending";
    const arrow = this.#descending ? " ↓" : " ↑";
    const click = () => this.#order(column);
    const label = html("button", { type: "button", click }, column + (sorted ? arrow : ""));
    return html("th", { class: kind, "aria-sort": sorted ? order : "none" }, label);
  }

  // Rows and cells are kept and their words changed: scroll, focus and selection stay.
  #showRows(found) {
    while (this.#rows.childElementCount > found.length) this.#rows.lastChild.remove();
    found.forEach((job, n) => {
      if (!this.#rows.children[n]) this.#rows.append(this.#emptyRow());
      this.#fill(this.#rows.children[n], job);
    });
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
