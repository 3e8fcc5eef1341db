// Groups, or queues, one a line: how far each is, as a bar and in figures. The kernel sorts.

import { html, link, say } from "./elements.js";
import { rateWords } from "./group_facts.js";
import { hideEmpty, Pages, SortedHeadings, showLines } from "./paged_table.js";
import { counted, duration, number, partWords, stateWord } from "./words.js";

const GROUP_COLUMNS = [
  ["name", "group", "fn-text"],
  ["done", null, "fn-wide"],
  ["rows", "rows", "fn-number"],
  ["failed", "failed", "fn-number"],
  ["rate", "rate", "fn-number fn-rate"],
  ["time left", "left", "fn-number fn-left-column"],
  ["median", "median", "fn-number fn-median"],
  ["spent", "spent", "fn-number fn-spent"],
];
// Columns -> where a line has what stands in them.
const MAYBE_EMPTY_OF_GROUPS = { rate: 5, left: 6, median: 7, spent: 8 };
const PALE = ["waiting", "delayed", "prioritized", "waiting-children"];

export class GroupTable {
  #model;
  #picked; // called with the name of a group
  #rows = html("tbody");
  #query = { sort: null, descending: false, text: "" };
  #pages;
  #noun;
  #table;

  constructor(model, kernel, { picked, noun }) {
    this.#model = model;
    this.#picked = picked;
    this.#noun = noun;
    this.#pages = new Pages(kernel, () => this.load());
    // Figures are asked for from the largest on, names from the first on.
    const headings = new SortedHeadings(
      this.#query,
      () => this.#pages.first(),
      (column) => column !== "group",
    );
    headings.draw(GROUP_COLUMNS.map(([label, ...rest]) => [label === "name" ? noun : label, ...rest]));
    this.#table = html("table", { class: "fn-jobs", "aria-label": `${noun}s` });
    this.#table.append(html("thead", {}, headings.element), this.#rows);
    this.panel = html("div", {}, this.#pages.bar(), html("div", { class: "fn-scroll" }, this.#table));
  }

  search(text) {
    this.#query.text = text;
    return this.#pages.first();
  }

  async load() {
    const found = await this.#pages.read("groups", this.#query);
    if (!found) return undefined;
    this.#pages.show(found.next);
    hideEmpty(this.#table, found.groups, MAYBE_EMPTY_OF_GROUPS, this.#query.sort);
    const read = `, ${number(found.known)} of ${number(found.total)} rows read`;
    say(this.#pages.status, counted(found.of, this.#noun) + (found.known < found.total ? read : ""));
    showLines(
      this.#rows,
      found.groups,
      () => this.#emptyRow(),
      (row, line) => this.#fill(row, line),
    );
    return found;
  }

  #emptyRow() {
    const name = link("", () => this.#picked(Number(row.dataset.group), name.textContent));
    const bar = html("div", { class: "fn-track fn-mini", role: "img" });
    const cells = GROUP_COLUMNS.slice(2).map(([, , kind]) => html("td", { class: kind }));
    const row = html("tr", {}, html("td", {}, name), html("td", { class: "fn-wide" }, bar), ...cells);
    return row;
  }

  #fill(row, [group, name, counts, total, failed, rate, left, median, spent, , , of]) {
    row.dataset.group = group;
    const [nameCell, barCell, totalCell, failedCell, rateCell, leftCell, medianCell, spentCell] =
      row.children;
    say(nameCell.firstChild, name);
    nameCell.firstChild.disabled = group === null;
    this.#fillBar(barCell.firstChild, counts, of - total);
    say(totalCell, partWords(total, of));
    say(failedCell, failed ? number(failed) : "");
    failedCell.classList.toggle("fn-bad", failed > 0);
    say(rateCell, rateWords(rate));
    say(leftCell, left);
    say(medianCell, duration(median));
    say(spentCell, spent);
  }

  // `coming` have not come here yet, and leave that much of the bar empty.
  #fillBar(bar, counts, coming) {
    const badges = this.#model.get("badges");
    const words = counts.map(([state, count]) => `${number(count)} ${stateWord(badges, state)}`);
    if (bar.getAttribute("aria-label") === words.join(", ")) return;
    bar.setAttribute("aria-label", words.join(", "));
    bar.title = words.join(", ");
    const shares = counts.map(([state, count]) => {
      const tone = badges[state] ? state : "unknown";
      const pale = PALE.includes(state) ? " fn-left" : "";
      return html("span", { class: `fn-share fn-${tone}${pale}`, style: `flex-grow:${count}` });
    });
    if (coming > 0) shares.push(html("span", { style: `flex-grow:${coming}` }));
    bar.replaceChildren(...shares);
  }
}
