// A live view as a whole: joins its parts, listens to the model, says when open panels are read again.

import { Actions } from "./actions.js";
import { html } from "./elements.js";
import { drawFailures } from "./failures.js";
import { Heading } from "./heading.js";
import { JobDetails } from "./job_details.js";
import { JobTable } from "./job_table.js";
import { hidePicture, keepKeys } from "./jupyter.js";
import { Kernel } from "./kernel.js";
import { Presence } from "./presence.js";
import { Tabs } from "./tabs.js";
import { Timeline } from "./timeline.js";
import { Tree } from "./tree.js";
import { TreeTools } from "./tree_tools.js";
import { number } from "./words.js";

const FAILURES = 1; // the second tab
const TICK_EVERY = 1000; // ms
const READING_SHARE = 20; // a panel is read for a twentieth of the time at most

class FlowPage {
  #model;
  #whole; // with table, timeline and buttons
  #kernel;
  #actions;
  #heading;
  #tree;
  #tools;
  #details;
  #tabs = null;
  #failures = html("ul", { class: "fn-failures" });
  #presence;
  #endings = []; // what ends what was begun
  #shownCounts = ""; // what the panels show is of these
  #reading = false;
  #readAgainAt = 0;

  constructor(model) {
    this.#model = model;
    this.#whole = model.get("whole");
    this.#kernel = new Kernel(model);
    this.#actions = new Actions((name, label) => this.#act(name, label));
    this.#heading = new Heading(model, [this.#actions.element]);
    this.#tree = new Tree(model, { most: this.#whole ? 520 : 420, pick: (box) => this.#pick(box) });
    this.#tools = new TreeTools(this.#tree, { fold: () => this.#kernel.ask("fold"), whole: this.#whole });
    this.#details = new JobDetails(this.#model, this.#kernel, {
      closed: (leaving) => this.#tree.unmark(leaving),
    });
    if (this.#whole) this.#tabs = this.#makeTabs();
    this.root = this.#makeRoot();
  }

  #makeRoot() {
    const kind = this.#whole ? "fn-flow fn-live fn-whole" : "fn-flow fn-live";
    const tree = html("div", { class: "fn-tree" }, this.#tools.element, this.#tree.canvas);
    const stage = html("div", { class: "fn-stage" }, tree, this.#details.panel);
    const below = this.#tabs?.element || this.#failures;
    return html("div", { class: kind, role: "region" }, ...this.#heading.elements, stage, below);
  }

  #makeTabs() {
    const table = new JobTable(this.#model, this.#kernel, { picked: (key) => this.#details.show(key) });
    const timeline = new Timeline(this.#kernel);
    return new Tabs([
      { label: "Jobs", panel: table.panel, load: table.load },
      { label: "Failures", panel: this.#failures, load: () => null },
      { label: "Timeline", panel: timeline.panel, load: timeline.load },
    ]);
  }

  // ---- what the kernel says ------------------------------------------------------------------------------

  start(el) {
    this.#listen({
      "change:frame": () => this.#tree.draw(),
      "change:nodes": () => this.#tree.update(),
      "change:head": () => this.#showHead(),
      "change:failures": () => this.#showFailures(),
      "change:beat": () => this.#beat(),
      comm_live_update: () => this.#presence.send(), // a kernel that restarts, or is gone, hears nothing
    });
    this.#presence = new Presence(this.#kernel, this.root, { lost: () => this.#lose() });
    const ticking = setInterval(() => this.#tick(), TICK_EVERY);
    this.#endings.push(keepKeys(this.root), hidePicture(el), () => clearInterval(ticking));
    this.#tree.draw();
    this.#showHead();
    this.#showFailures();
    this.#beat();
    this.#presence.send();
    this.#tabs?.open(0);
  }

  #listen(listeners) {
    for (const [event, call] of Object.entries(listeners)) {
      this.#model.on(event, call);
      this.#endings.push(() => this.#model.off(event, call));
    }
  }

  close() {
    for (const end of this.#endings) end();
    this.#presence.close();
    this.#tree.close();
    this.#kernel.close();
    this.#kernel.send({ ask: "gone" });
  }

  #showHead() {
    const head = this.#model.get("head");
    this.root.setAttribute("aria-label", `Flow ${head.name ?? ""}`);
    this.#heading.update();
    this.#tools.update(head);
    if (!this.#whole) return;
    this.#actions.update(head);
    const failed = head.counts?.find(([state]) => state === "failed")?.[1];
    this.#tabs.rename(FAILURES, failed ? `Failures (${number(failed)})` : "Failures");
  }

  #showFailures() {
    const picked = (key) => this.#details.show(key);
    drawFailures(this.#failures, this.#model.get("failures"), { most: this.#whole ? 8 : 3, picked });
  }

  #beat() {
    this.#heading.heartbeat();
    this.#showTime();
  }

  #lose() {
    this.#heading.lose();
    this.#showTime();
  }

  #showTime() {
    this.#heading.tick();
    const stale = this.#heading.showLiveness();
    this.root.classList.toggle("fn-stale", stale);
  }

  #tick() {
    this.#showTime();
    this.#refreshPanels();
  }

  // What the panels show is read again when the counts have changed; what takes long is read seldom.
  async #refreshPanels() {
    const { counts, finished } = this.#model.get("head");
    const now = JSON.stringify([counts, finished]); // a retry may fail as many again
    const early = performance.now() < this.#readAgainAt && !finished;
    if (now === this.#shownCounts || !this.#presence.inSight || this.#reading || early) return;
    this.#shownCounts = now;
    this.#reading = true;
    const answers = await Promise.all([this.#details.refresh(), this.#tabs?.reload()]);
    this.#reading = false;
    const took = answers.reduce((sum, answer) => sum + (answer?.took || 0), 0);
    this.#readAgainAt = performance.now() + READING_SHARE * took;
  }

  // ---- what a person does --------------------------------------------------------------------------------

  #pick(box) {
    if (!box.folded) {
      this.#details.show(box.key);
      return;
    }
    this.#details.showGroup(box, this.#model.get("nodes")[box.id]);
    const opened = this.#model.get("head").opened || [];
    if (box.parent && !opened.includes(box.key)) {
      this.#kernel.ask("open", { key: box.key, parent: box.parent });
    }
  }

  async #act(name, label) {
    this.#heading.acting(label);
    const { error } = await this.#kernel.ask("do", { what: name });
    this.#heading.acted(error);
  }
}

function render({ model, el }) {
  const page = new FlowPage(model);
  el.replaceChildren(page.root);
  page.start(el);
  return () => page.close();
}

export default { render };
