// Above the tree: name, state, size, progress, whether the kernel answers; trouble is worded by view.py.

import { html, say } from "./elements.js";
import { ATTACH_AGAIN } from "./kernel.js";
import { clock, counted, duration, number, stateWord, wordInBatch } from "./words.js";

const STALE_AFTER = 16000; // ms without a word of the kernel
const BEGUN = ["completed", "failed", "active"]; // the colours of other states are pale

function oldestWords(oldest, active, now) {
  if (!oldest) return "";
  const whole = Math.floor(Math.max(now - oldest, 0) / 1000) * 1000;
  return `, ${active > 1 ? "the oldest " : ""}for ${duration(whole || 1000)}`;
}

function runsWords({ counts = [], oldest, left, note, created, finished }, now) {
  const active = counts.find(([state]) => state === "active")?.[1] || 0;
  const running = `${number(active)} running${oldestWords(oldest, active, now)}`;
  const parts = active ? [running, left] : [];
  if (finished) parts.push(`took ${duration(finished - created)}`);
  parts.push(note);
  return parts.filter(Boolean).join(" · ");
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
  #runs = html("span", { class: "fn-runs" });
  #trouble = html("p", { class: "fn-error", role: "alert", hidden: "" });
  #refused = ""; // what the last button did not do, until the next one
  #heard = performance.now(); // when the kernel last said something, by two clocks
  #heardAt = Date.now();
  #lost = false; // nothing can be said to the kernel any more

  constructor(model, actions) {
    this.#model = model;
    const gap = html("span", { class: "fn-gap" });
    const parts = [this.#name, this.#state, this.#told, this.#size, this.#fresh, gap, ...actions];
    this.elements = [
      html("div", { class: "fn-head" }, ...parts),
      this.#track,
      html("div", { class: "fn-facts" }, this.#key, this.#runs),
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
    const key = counts.map(([state, count], n) => {
      const figure = html("b", {}, `${badges[tones[n]].symbol} ${number(count)}`);
      return html("span", { class: `fn-${tones[n]}` }, figure, ` ${wordOf(badges, state)}`);
    });
    this.#track.replaceChildren(...shares);
    this.#key.replaceChildren(...key);
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
    const now = this.#model.get("beat").at + (performance.now() - this.#heard);
    say(this.#runs, runsWords(this.#model.get("head"), now));
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
