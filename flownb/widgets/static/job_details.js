// The panel beside the tree: all that is known of one job, or the counts of a group.

import { html } from "./elements.js";
import { clock, duration, number, stateWord } from "./words.js";

function fact(name, value) {
  return value === "" || value === null ? [] : [html("dt", {}, name), html("dd", {}, String(value))];
}

function section(name, text, open = true) {
  if (!text) return null;
  return html("details", open ? { open: "" } : {}, html("summary", {}, name), html("pre", {}, text));
}

// Of a job that has not ended, how long its run takes so far.
function ranWords({ started, ended, ran, failed_runs: failed, state }) {
  if (!ended) return started && state === "active" ? duration(Date.now() - started) : "";
  const last = failed.some(([began]) => began === started) ? 0 : 1;
  const runs = failed.length + last;
  return runs > 1 ? `${duration(ran)} in ${runs} runs` : duration(ran);
}

function facts(job) {
  return html(
    "dl",
    {},
    ...fact("queue", job.queue),
    ...fact("id", job.id),
    ...fact("attempts", job.attempts),
    ...fact("created", clock(job.created)),
    ...fact(job.failed_runs.length ? "last started" : "started", clock(job.started)),
    ...fact("ended", clock(job.ended)),
    ...fact("waited", duration(job.waited)),
    ...fact("ran", ranWords(job)),
  );
}

function sections(job) {
  const runs = job.failed_runs.map(([began, ended]) => `${clock(began)}, ran ${duration(ended - began)}`);
  const cut = job.log_rows > job.log.length;
  const log = cut ? `log (the last ${job.log.length} of ${number(job.log_rows)} rows)` : "log";
  return [
    section("error", job.error),
    section("traceback", job.traceback, false),
    section("result", job.result),
    section("data", job.data),
    section("progress", job.progress === "0" ? "" : job.progress, false),
    section("failed runs", runs.join("\n"), false),
    section(log, job.log.join("\n")),
  ].filter(Boolean);
}

const nameOf = (part) => part.firstChild.textContent;

export class JobDetails {
  #model;
  #kernel;
  #closed; // called with whether the focus was in the panel
  #body = html("div", { class: "fn-details-body" });
  #shown = null; // the key of a job

  constructor(model, kernel, { closed }) {
    this.#model = model;
    this.#kernel = kernel;
    this.#closed = closed;
    const cross = { class: "fn-x", type: "button", "aria-label": "Close", click: () => this.#close() };
    const panel = { class: "fn-details", "aria-label": "The chosen job", hidden: "" };
    this.panel = html("aside", panel, html("button", cross, "×"), this.#body);
    this.panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.#close();
    });
  }

  #close() {
    const leaving = this.panel.contains(document.activeElement);
    this.#shown = null;
    this.panel.hidden = true;
    this.#closed(leaving);
  }

  async show(key) {
    const again = this.#shown === key;
    this.#shown = key;
    this.panel.hidden = false;
    if (!again) this.#body.replaceChildren(html("p", { class: "fn-muted" }, "asking the kernel …"));
    const job = await this.#kernel.ask("job", { key });
    if (this.#shown !== key) return undefined;
    if (job.error && !job.key) {
      this.#body.replaceChildren(html("p", { class: "fn-error" }, job.error));
      return undefined;
    }
    this.#draw(job, again);
    return job;
  }

  #wordOf(state) {
    return stateWord(this.#model.get("badges"), state);
  }

  // What a person has opened and closed stays so when the same job is shown again.
  #draw(job, again) {
    const parts = () => [...this.#body.querySelectorAll("details")];
    const open = new Map(parts().map((part) => [nameOf(part), part.open]));
    const state = html("span", { class: `fn-state fn-${job.state}` }, this.#wordOf(job.state));
    this.#body.replaceChildren(html("h3", {}, job.name), state, facts(job), ...sections(job));
    if (!again) return;
    for (const part of parts()) part.open = open.get(nameOf(part)) ?? part.open;
  }

  showGroup(box, [, , shares]) {
    this.#shown = null;
    this.panel.hidden = false;
    const rows = shares.map(([state, count]) => {
      const swatch = html("span", { class: "fn-swatch" });
      return html("li", { class: `fn-${state}` }, swatch, ` ${number(count)} ${this.#wordOf(state)}`);
    });
    this.#body.replaceChildren(html("h3", {}, box.name), html("ul", { class: "fn-plain" }, ...rows));
  }

  refresh() {
    return this.#shown && this.show(this.#shown);
  }
}
