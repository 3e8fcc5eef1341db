// What rows print and log: the lines of those that ended last, or are searched for; followed live while
// its switch is on.

import { html, link, say } from "./elements.js";
import { clock, counted, number } from "./words.js";

const FOLLOW_EVERY = 1500; // ms
const NEAR = 4; // pixels from the last line, where a person reads on at the end
const LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR"];

export class LogPanel {
  #kernel;
  #picked; // called with the position of a row
  #levels = html("select", { "aria-label": "Level", change: () => this.load() });
  #follow = html("input", { type: "checkbox", change: () => this.#switch() });
  #status = html("span", { class: "fn-muted", role: "status" });
  #lines = html("ol", { class: "fn-lines", tabindex: "0", "aria-label": "Lines" });
  #none = html("p", { class: "fn-none fn-muted" });
  #text = "";
  #shown = "";
  #timer = 0;
  #latest = 0;

  constructor(kernel, { picked }) {
    this.#kernel = kernel;
    this.#picked = picked;
    const levels = LEVELS.map((level) => html("option", { value: level }, `${level} and above`));
    this.#levels.append(html("option", { value: "" }, "all lines"), ...levels);
    const follow = html("label", { class: "fn-switch" }, this.#follow, " follow live");
    this.panel = html(
      "div",
      {},
      html("div", { class: "fn-bar-of-tools" }, this.#levels, follow, this.#status),
      this.#lines,
      this.#none,
    );
  }

  search(text) {
    this.#text = text;
    return this.load();
  }

  #switch() {
    clearInterval(this.#timer);
    if (this.#follow.checked) this.#timer = setInterval(() => this.#tick(), FOLLOW_EVERY);
    this.load();
  }

  #tick() {
    if (!this.panel.isConnected) clearInterval(this.#timer);
    else if (this.panel.offsetParent) this.load();
  }

  load = async () => {
    const mine = ++this.#latest;
    const found = await this.#kernel.ask("logs", { level: this.#levels.value, text: this.#text });
    if (mine !== this.#latest) return undefined;
    if (found.error) {
      say(this.#status, found.error);
      return undefined;
    }
    this.#show(found);
    return found;
  };

  #show({ lines, of, rows, found }) {
    const last = of > lines.length ? `the last ${number(lines.length)} of ` : "";
    say(this.#none, lines.length ? "" : this.#noneWords(rows));
    const named = found ? `the ${counted(found, "row")} found, and of ` : "";
    say(this.#status, `${last}${counted(of, "line")} of ${named}the ${counted(rows, "row")} that ended last`);
    const now = JSON.stringify(lines);
    if (now === this.#shown) return;
    this.#shown = now;
    const { scrollTop, clientHeight, scrollHeight } = this.#lines;
    const isAtEnd = scrollTop + clientHeight >= scrollHeight - NEAR; // as it is at first
    this.#lines.replaceChildren(...lines.map((line) => this.#line(line)));
    if (isAtEnd || this.#follow.checked) this.#lines.scrollTop = this.#lines.scrollHeight;
  }

  #noneWords(rows) {
    if (this.#text || this.#levels.value) return "No such line.";
    return rows
      ? "These rows have printed and logged nothing."
      : "What rows print and log stands here once they have ended.";
  }

  #line([position, label, time, stream, text]) {
    const name = link(label, () => this.#picked(position));
    const when = html("span", { class: "fn-muted" }, clock(time));
    const kind = html("span", { class: stream === "stdout" ? "fn-muted" : "fn-stream" }, stream);
    return html("li", {}, when, name, kind, html("span", { class: "fn-message" }, text));
  }
}
