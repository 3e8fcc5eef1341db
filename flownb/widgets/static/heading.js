// Above the tree: name, state, size, progress, whether the kernel answers; trouble is worded by view.py.

import { html, link, place, say } from "./elements.js";
import { ATTACH_AGAIN } from "./kernel.js";
import { ROW_STATES } from "./row_table.js";
import {
  clock,
  counted,
  duration,
  number,
  stateWord,
  stillWords,
  wholeSeconds,
  wordInBatch,
} from "./words.js";

const STALE_AFTER = 16000; // ms without a word of the kernel
const BEGUN = ["completed", "failed", "active"]; // the colours of other states are pale
const ENDED = ["completed", "failed"];

function oldestWords({ counts = [], oldest }, now) {
  const active = counts.find(([state]) => state === "active")?.[1] || 0;
  return active && oldest ? `, ${active > 1 ? "the oldest " : ""}for ${wholeSeconds(now - oldest)}` : "";
}

// How many are left, before how many of these are in which state; nothing where that says it. In a batch
// rows are counted, not what waits for rows.
function leftWords(counts, isBatch) {
  const others = isBatch ? [...ENDED, "waiting-children"] : ENDED;
  const left = counts.filter(([state]) => !others.includes(state)).map(([, count]) => count);
  return left.length > 1 ? `${number(left.reduce((sum, count) => sum + count, 0))} left:` : "";
}

export class Heading {
  #model;
  #name = html("span", { class: "fn-title" });
  #state = html("span", {});
  #told = html("span", { class: "fn-heard", role: "status" }); // without the number, which changes often
  #size = html("span", { class: "fn-muted" });
  #fresh = html("span", { class: "fn-fresh", role: "status" });
  #track = html("div", { class: "fn-track", role: "img" });
  #key = html("div", { class: "fn-key" });
  #before = html("span", { class: "fn-muted" }); // the counts of what is left
  #oldest = html("span", {}); // behind how many run
  #left = html("span", {}); // how long it takes, took, or stands still
  #note = html("span", { class: "fn-muted" });
  #trouble = html("p", { class: "fn-error", role: "alert", hidden: "" });
  #refused = ""; // what the last button did not do, until the next one
  #picked; // called with a state whose count was chosen; null where there are no rows to show
  #counts = new Map(); // state -> its count and its word
  #heard = performance.now(); // when the kernel last said something, by two clocks
  #heardAt = Date.now();
  #lost = false; // nothing can be said to the kernel any more

  constructor(model, actions, { picked }) {
    this.#model = model;
    this.#picked = picked;
    const gap = html("span", { class: "fn-gap" });
    const parts = [this.#name, this.#state, this.#told, this.#size, this.#fresh, gap, ...actions];
    this.elements = [
      html("div", { class: "fn-head" }, ...parts),
      this.#track,
      html(
        "div",
        { class: "fn-facts" },
        this.#key,
        html("div", { class: "fn-outlook" }, this.#left, this.#note),
      ),
      this.#trouble,
    ];
  }

  update() {
    const { name = "", state = "", tone, total = 0, rows = 0, counts = [] } = this.#model.get("head");
    say(this.#name, name);
    say(this.#state, state);
    say(this.#told, state.replace(/ for .*/, ""));
    this.#state.setAttribute("class", `fn-state fn-${tone}`);
    const others = total > rows || !rows ? [counted(total - rows, "job")] : [];
    say(this.#size, [...(rows ? [counted(rows, "row")] : []), ...others].join(" and "));
    this.#complain();
    this.#showCounts(counts);
    this.tick();
  }

  #showCounts(counts) {
    const badges = this.#model.get("badges");
    const wordOf = this.#model.get("head").is_batch ? wordInBatch : stateWord;
    const words = counts.map(([state, count]) => `${number(count)} ${wordOf(badges, state)}`);
    this.#track.setAttribute("aria-label", words.join(", ") || "no jobs");
    const tones = counts.map(([state]) => (badges[state] ? state : "unknown"));
    const shares = counts.map(([state, count], n) => {
      const pale = BEGUN.includes(state) ? "" : " fn-left";
      const style = `flex-grow:${count}`;
      return html("span", { class: `fn-share fn-${tones[n]}${pale}`, style, title: words[n] });
    });
    this.#track.replaceChildren(...shares);
    counts.forEach(([state, count], n) => {
      const { figure, word } = this.#countOf(state, tones[n]);
      say(figure, `${badges[tones[n]].symbol} ${number(count)}`);
      say(word, ` ${wordOf(badges, state)}`);
    });
    const key = counts.map(([state]) => this.#counts.get(state).element);
    const left = leftWords(counts, this.#model.get("head").is_batch);
    say(this.#before, left);
    const ended = counts.filter(([state]) => ENDED.includes(state)).length;
    if (left) key.splice(ended, 0, this.#before);
    place(this.#key, key);
  }

  // A count stays the same element: it may have the focus.
  #countOf(state, tone) {
    if (!this.#counts.has(state)) {
      const figure = html("b");
      const word = html("span");
      const since = state === "active" ? [this.#oldest] : [];
      const isLink = this.#picked && ROW_STATES.includes(state);
      const words = isLink ? this.#linked(state, figure, word) : [figure, word];
      const element = html("span", { class: `fn-${tone}` }, ...words, ...since);
      this.#counts.set(state, { element, figure, word });
    }
    return this.#counts.get(state);
  }

  #linked(state, ...words) {
    const shows = link("", () => this.#picked(state));
    shows.append(...words);
    shows.title = "Show these rows";
    return [shows];
  }

  #complain() {
    const words = this.#model.get("head").trouble || this.#refused;
    this.#trouble.hidden = !words;
    say(this.#trouble, words);
  }

  acting(label) {
    say(this.#fresh, `${label.toLowerCase()} …`);
  }

  acted(error) {
    this.#refused = error || "";
    this.#complain();
    this.showLiveness();
  }

  heartbeat() {
    this.#heard = performance.now();
    this.#heardAt = Date.now();
    this.#lost = false;
  }

  lose() {
    this.#lost = true;
  }

  // The times that go on between two words of the kernel.
  tick() {
    if (this.#isStale()) return; // nobody knows what still runs
    const head = this.#model.get("head");
    const now = this.now;
    const still = stillWords(head, now);
    const took = head.finished ? `took ${duration(head.finished - head.created)}` : "";
    say(this.#oldest, oldestWords(head, now));
    say(this.#left, still || head.left || took);
    this.#left.classList.toggle("fn-bad", Boolean(still));
    say(this.#note, head.note ?? "");
  }

  // The server's time, as far as it is known.
  get now() {
    return this.#model.get("beat").at + (performance.now() - this.#heard);
  }

  // Says whether all this is live; answers whether it is not any more.
  showLiveness() {
    const stale = this.#isStale();
    if (stale) this.#fresh.title = `The kernel is gone or does not answer. ${ATTACH_AGAIN}`;
    say(this.#fresh, stale ? `not live since ${clock(this.#heardAt)}` : "live");
    return stale;
  }

  #isStale() {
    return this.#lost || Date.now() - this.#heardAt > STALE_AFTER;
  }
}
