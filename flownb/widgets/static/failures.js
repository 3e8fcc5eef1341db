// Failures by kind, the most frequent first: how many, where in the code, which rows; run again, debug.
// What the kernel left out is a last group without a kind.

import { debugButton } from "./debug_line.js";
import { button, html, link, place, say } from "./elements.js";
import { retryButton } from "./retry_button.js";
import { clock, counted, number } from "./words.js";

const SHORT = 3; // kinds in a view without tabs

// What a person chooses is a row where the view is of a batch, else a job.
const samplesOf = ({ rows, jobs }) =>
  rows.length
    ? rows.map(([position, label, about]) => ({ chosen: { position }, label, about }))
    : jobs.map(([key, label]) => ({ chosen: { key }, label, about: "" }));

class Kind {
  element = html("li", { class: "fn-kind" });
  #list;
  #count = html("b");
  #bar = html("span", { class: "fn-measure", "aria-hidden": "true" });
  #message = html("span", { class: "fn-message" });
  #fresh;
  #body = html("div");
  #group;
  #drawn = "";
  #before = 0; // how many there were when a person last looked
  #since = Date.now();

  constructor(list) {
    this.#list = list;
    const seen = { class: "fn-link fn-new", title: "Count from here on" };
    this.#fresh = button("", () => this.#see(), seen);
    const tools = list.whole ? this.#tools() : [];
    const gap = html("span", { class: "fn-gap" });
    const head = [this.#bar, this.#count, this.#message, this.#fresh, gap, ...tools];
    this.element.append(html("div", { class: "fn-kind-head" }, ...head), this.#body);
  }

  #tools() {
    const show = () => this.#list.doing.rows(this.#group);
    const [debug, copied] = debugButton(() => this.#group.debug);
    this.rows = button("Show rows", show);
    this.debug = debug;
    const [retry, told] = retryButton("Retry these", () => this.#list.doing.retry(this.#group.kind));
    const buttons = html("span", { class: "fn-buttons" }, this.rows, retry, debug);
    return [told, copied, buttons];
  }

  #see() {
    this.#before = this.#group.count;
    this.#since = Date.now();
    this.#tellFresh();
  }

  #tellFresh() {
    const more = this.#group.count - this.#before;
    this.#fresh.hidden = more <= 0;
    say(this.#fresh, `+${number(more)} since ${clock(this.#since)}`);
  }

  // `isNew`: what comes more has failed since it was looked at; else it was only read now.
  update(group, most, isNew) {
    this.#group = group;
    if (!isNew || group.count < this.#before) this.#see(); // some may run again
    say(this.#count, `${number(group.count)} ×`);
    this.#bar.style.setProperty("--fn-share", group.count / most);
    this.#tellFresh();
    const drawn = JSON.stringify({ ...group, count: 0 });
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    say(this.#message, group.message);
    if (this.#list.whole) {
      this.rows.hidden = !group.rows.length;
      this.debug.hidden = !group.debug;
    }
    this.#body.replaceChildren(...this.#parts(group));
  }

  #parts({ example, where, source, ...group }) {
    const samples = samplesOf(group).map(({ chosen, label, about }) => {
      const name = link(label, () => this.#list.doing.pick(chosen));
      return html("span", {}, name, about && this.#list.whole ? ` ${about}` : "");
    });
    const more = group.count > samples.length ? [html("span", {}, "…")] : [];
    return [
      example ? html("div", { class: "fn-muted" }, `such as ${example}`) : null,
      where ? html("div", { class: "fn-where" }, `${where}: `, html("code", {}, source)) : null,
      html("div", { class: "fn-samples fn-muted" }, ...samples, ...more),
    ].filter(Boolean);
  }
}

export class FailureList {
  panel = html("ul", { class: "fn-failures" });
  #kinds = new Map();
  #rest = html("li", { class: "fn-muted" });
  #began = false;

  // `doing`: pick a job or row, show the rows of a kind, retry a kind
  constructor(doing, { whole }) {
    this.doing = doing;
    this.whole = whole;
  }

  // `seenAll`: the kernel has read each row once.
  update(groups, seenAll) {
    const listed = groups.filter(({ kind }) => kind).slice(0, this.whole ? groups.length : SHORT);
    const most = Math.max(...listed.map(({ count }) => count), 1);
    const kinds = new Map(listed.map((group) => [group.kind, this.#kindOf(group)]));
    for (const group of listed) kinds.get(group.kind).update(group, most, this.#began);
    this.#kinds = kinds;
    this.#began ||= seenAll;
    const rest = groups.slice(listed.length).reduce((sum, group) => sum + group.count, 0);
    say(this.#rest, rest ? `and ${counted(rest, "more failure")} of other kinds, or not read yet` : "");
    const wanted = [...kinds.values()].map(({ element }) => element).concat(rest ? [this.#rest] : []);
    if (!wanted.length) wanted.push(html("li", { class: "fn-none fn-muted" }, "Nothing has failed."));
    place(this.panel, wanted);
  }

  #kindOf({ kind }) {
    return this.#kinds.get(kind) || new Kind(this);
  }
}
