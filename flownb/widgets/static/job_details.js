// The panel beside the tree: all that is known of one job or row, or how a group is doing.

import { debugButton } from "./debug_line.js";
import { html, say } from "./elements.js";
import { GroupFacts } from "./group_facts.js";
import { retryButton } from "./retry_button.js";
import { clock, duration, number, stateWord } from "./words.js";

// Of a job that has not ended, how long its run takes so far.
function ranWords({ started, ended, ran, failed_runs: failed, state }) {
  if (!failed) return duration(ran); // of a row its last attempt is known
  if (!ended) return started && state === "active" ? duration(Date.now() - started) : "";
  const last = failed.some(([began]) => began === started) ? 0 : 1;
  const runs = failed.length + last;
  return runs > 1 ? `${duration(ran)} in ${runs} runs` : duration(ran);
}

const factsOf = (job) => [
  ["queue", job.queue],
  ["id", job.id],
  ["step", job.step],
  ["attempts", job.attempts],
  ["created", clock(job.created)],
  [job.failed_runs?.length ? "last started" : "started", clock(job.started)],
  ["ended", clock(job.ended)],
  ["waited", duration(job.waited)],
  ["ran", ranWords(job)],
  ["spent", job.spent],
  ["code", job.version],
];

const lineOf = (line) => {
  if (typeof line === "string") return line;
  const [time, stream, , text] = line;
  return [clock(time), stream, text].filter(Boolean).join("  ");
};

// Name, text, and whether it is open at first.
function sectionsOf(job) {
  const runs = (job.failed_runs || []).map(
    ([began, ended]) => `${clock(began)}, ran ${duration(ended - began)}`,
  );
  const cut = job.log_rows > job.log.length;
  const log = cut ? `log (the last ${job.log.length} of ${number(job.log_rows)} lines)` : "log";
  const inputs = job.position === undefined ? "data" : "inputs";
  return [
    ["error", job.error, true],
    ["in your code", job.where || "", true],
    ["traceback", job.traceback, false],
    [job.state === "failed" ? "returned so far" : "result", job.result, true],
    [inputs, job.data, true],
    ["progress", job.progress === "0" ? "" : job.progress, true],
    ["failed runs", runs.join("\n"), false],
    [log, job.log.map(lineOf).join("\n"), true],
  ].filter(([, text]) => text);
}

// Of one job or row. What stays the same is not touched: an open part and a selection in it stay.
class Facts {
  #title = html("h3");
  #state = html("span");
  #list = html("dl");
  #tools = html("div", { class: "fn-told-tools" });
  #picture = html("div");
  #sections = html("div");
  #parts = new Map(); // a name -> its details and text
  #debug; // the button
  #row = {}; // that is shown

  // `retry` is called with the position of a row.
  constructor(retry) {
    const [debug, copied] = debugButton(() => this.#row.debug);
    const [again, told] = retryButton("Retry this row", () => retry(this.#row.position));
    this.#debug = debug;
    this.#tools.append(again, debug, told, copied);
    const parts = [this.#title, this.#state, this.#list, this.#picture, this.#tools, this.#sections];
    this.element = html("div", {}, ...parts);
  }

  update(job, word) {
    say(this.#title, job.name);
    say(this.#state, word);
    this.#state.setAttribute("class", `fn-state fn-${job.state}`);
    this.#row = job;
    this.#tools.hidden = job.position === undefined || job.state !== "failed";
    this.#debug.hidden = !job.debug;
    this.#updatePicture(job.picture);
    this.#updateFacts(factsOf(job).filter(([, value]) => value));
    this.#updateSections(sectionsOf(job));
  }

  #updatePicture(src = null) {
    if ((this.#picture.firstChild?.src ?? null) === src) return;
    const alt = "the picture that it returned";
    this.#picture.replaceChildren(...(src ? [html("img", { class: "fn-preview", alt, src })] : []));
  }

  #updateFacts(facts) {
    while (this.#list.childElementCount > 2 * facts.length) this.#list.lastChild.remove();
    facts.forEach(([name, value], n) => {
      if (!this.#list.children[2 * n]) this.#list.append(html("dt"), html("dd"));
      say(this.#list.children[2 * n], name);
      say(this.#list.children[2 * n + 1], String(value));
    });
  }

  #updateSections(wanted) {
    const names = wanted.map(([name]) => name);
    for (const [name, { details }] of this.#parts) {
      if (names.includes(name)) continue;
      details.remove();
      this.#parts.delete(name);
    }
    wanted.forEach(([name, text, open], n) => {
      const { details, shown } = this.#parts.get(name) || this.#section(name, open);
      say(shown, text);
      if (this.#sections.children[n] !== details) {
        this.#sections.insertBefore(details, this.#sections.children[n] || null);
      }
    });
  }

  #section(name, open) {
    const shown = html("pre", { tabindex: "0", role: "region", "aria-label": name });
    const details = html("details", open ? { open: "" } : {}, html("summary", {}, name), shown);
    this.#parts.set(name, { details, shown });
    return { details, shown };
  }
}

export class JobDetails {
  #model;
  #kernel;
  #closed; // called with whether the focus was in the panel
  #picked;
  #retry;
  #body = html("div", { class: "fn-details-body" });
  #shown = null; // what is asked for: {key}, {position} or {group}
  #content = null;

  constructor(model, kernel, { closed, picked, retry }) {
    this.#model = model;
    this.#kernel = kernel;
    this.#closed = closed;
    this.#picked = picked;
    this.#retry = retry;
    const cross = { class: "fn-x", type: "button", "aria-label": "Close", click: () => this.close() };
    const panel = { class: "fn-details", "aria-label": "What was chosen", hidden: "" };
    this.panel = html("aside", panel, html("button", cross, "×"), this.#body);
    this.panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.close();
    });
  }

  close() {
    const leaving = this.panel.contains(document.activeElement);
    this.#shown = null;
    this.panel.hidden = true;
    this.#closed(leaving);
  }

  // `chosen` has the key of a job or the position of a row.
  show(chosen) {
    return this.#load("position" in chosen ? "row" : "job", chosen, () => new Facts(this.#retry));
  }

  showGroup(box) {
    const group = () => new GroupFacts(this.#model, box, { picked: this.#picked });
    const { key, parent, jobs, group: number } = box;
    return this.#load("group", { key, parent, name: jobs, group: number }, group);
  }

  async #load(question, chosen, make) {
    const shown = JSON.stringify([question, chosen]);
    const again = this.#shown?.shown === shown;
    if (!again) {
      this.#content = null;
      this.#body.replaceChildren(html("p", { class: "fn-muted" }, "asking the kernel …"));
    }
    this.#shown = { shown, load: () => this.#load(question, chosen, make) };
    this.panel.hidden = false;
    const found = await this.#kernel.ask(question, chosen);
    if (this.#shown?.shown !== shown) return undefined;
    if (found.error && !found.name) {
      this.#content = null;
      this.#body.replaceChildren(html("p", { class: "fn-error" }, found.error));
      return undefined;
    }
    if (!this.#content) {
      this.#content = make();
      this.#body.replaceChildren(this.#content.element);
    }
    this.#content.update(found, stateWord(this.#model.get("badges"), found.state));
    return found;
  }

  refresh() {
    return this.#shown?.load();
  }
}
