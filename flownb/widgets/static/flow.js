// A live view as a whole: joins its parts, listens to the model, says when open panels are read again.

import { Actions } from "./actions.js";
import { CompactLine } from "./compact_line.js";
import { html } from "./elements.js";
import { FailureList } from "./failures.js";
import { GroupTable } from "./group_table.js";
import { Heading } from "./heading.js";
import { JobDetails } from "./job_details.js";
import { JobTable } from "./job_table.js";
import { hidePicture, keepKeys } from "./jupyter.js";
import { Kernel } from "./kernel.js";
import { LogPanel } from "./log_panel.js";
import { followPage } from "./page_theme.js";
import { Presence } from "./presence.js";
import { RowTable } from "./row_table.js";
import { SearchField } from "./search_field.js";
import { Tabs } from "./tabs.js";
import { Timeline } from "./timeline.js";
import { Tree } from "./tree.js";
import { TreeTools } from "./tree_tools.js";
import { counted, number } from "./words.js";

const MOST_HEIGHT = 840; // pixels of the tree
const MOST_ABOVE_TABS = 440; // where tabs are below, unless a group is open: they begin in sight
const FAILURES = 0; // the tabs of every view
const TABLE = 1;
const TICK_EVERY = 1000; // ms
const READING_SHARE = 20; // a panel is read for a twentieth of the time at most

function foundWords(found, boxes, noun) {
  const listed = found?.of ?? found?.rows?.length ?? 0;
  const kind = found?.groups ? "group" : found?.lines ? "line" : noun;
  const inTree = boxes ? counted(boxes, "box").replace("boxs", "boxes") : "";
  return listed || boxes ? [counted(listed, kind), inTree].filter(Boolean).join(", ") : "nothing found";
}

class FlowPage {
  #model;
  #whole; // with table, timeline and buttons
  #isBatch;
  #kernel;
  #actions;
  #heading;
  #line = null; // of a batch that runs in a cell, which is folded to it
  #tree;
  #tools;
  #details;
  #table = null; // of rows, in a view of a batch, else of jobs
  #parts = []; // of the tabs
  #timeline = null;
  #text = ""; // that is searched for
  #field = null;
  #searched = new Map(); // each part that can be searched -> the text that it was last searched for
  #tabs = null;
  #isOfTree = false; // what the panel beside shows was chosen in the tree
  #failures;
  #presence;
  #endings = []; // what ends what was begun
  #shownCounts = ""; // what the panels show is of these
  #reading = false;
  #readAgainAt = 0;
  #failed = 0;

  constructor(model) {
    this.#model = model;
    this.#whole = model.get("whole");
    this.#isBatch = Boolean(model.get("head").is_batch);
    this.#kernel = new Kernel(model);
    this.#actions = new Actions((name, label) => this.#act(name, label));
    const rows = (state) => this.#showRows(() => this.#table.inState(state));
    const picked = this.#whole && this.#isBatch ? rows : null;
    this.#heading = new Heading(model, [this.#actions.element], { picked });
    const most = () => (this.#whole && !model.get("head").opened.length ? MOST_ABOVE_TABS : MOST_HEIGHT);
    this.#tree = new Tree(model, { most, pick: (box) => this.#pick(box) });
    this.#tools = new TreeTools(this.#tree, { fold: () => this.#kernel.ask("fold") });
    this.#details = new JobDetails(this.#model, this.#kernel, {
      closed: (leaving) => this.#tree.unmark(leaving),
      picked: (chosen) => this.#details.show(chosen),
      retry: (position) => this.#retry({ position }),
    });
    this.#failures = this.#makeFailures();
    if (this.#whole) this.#tabs = this.#makeTabs();
    if (!this.#whole && model.get("head").compact) this.#line = new CompactLine(model);
    this.root = this.#makeRoot();
    this.#line?.start(this.root);
  }

  #makeRoot() {
    const kind = this.#whole ? "fn-flow fn-live fn-whole" : "fn-flow fn-live";
    const tree = html("div", { class: "fn-tree" }, this.#tools.element, this.#tree.canvas);
    const below = this.#tabs?.element || this.#failures.panel;
    const stage = html("div", { class: "fn-stage" }, tree, this.#details.panel, below);
    const line = this.#line ? [this.#line.element] : [];
    return html("div", { class: kind, role: "region" }, ...line, ...this.#heading.elements, stage);
  }

  #makeFailures() {
    const doing = {
      pick: (chosen) => this.#show(chosen),
      retry: (kind) => this.#retry({ kind }),
      rows: ({ kind, message }) => this.#showRows(() => this.#table.ofKind(kind, message)),
    };
    return new FailureList(doing, { whole: this.#whole });
  }

  // What is typed in the search field is not meant.
  #showRows(choose) {
    this.#field.clear();
    this.#text = "";
    choose();
    this.#tabs.choose(TABLE);
  }

  #retry = (failed) => this.#kernel.ask("retry", failed);

  #makeTabs() {
    const pickRow = (position) => this.#show({ position });
    const pickJob = (key) => this.#show({ key });
    this.#table = this.#isBatch
      ? new RowTable(this.#model, this.#kernel, { picked: pickRow, retry: (kind) => this.#retry({ kind }) })
      : new JobTable(this.#model, this.#kernel, { picked: pickJob });
    const noun = this.#model.get("head").in_groups ? "group" : this.#isBatch ? "step" : "queue";
    const groups = new GroupTable(this.#model, this.#kernel, {
      noun,
      picked: (number, label) => {
        this.#isOfTree = false;
        this.#details.showGroup({ name: label, group: number });
      },
    });
    this.#timeline = new Timeline(this.#kernel);
    const logs = this.#isBatch ? [["Logs", new LogPanel(this.#kernel, { picked: pickRow })]] : [];
    const searched = [this.#table, ...logs.map(([, part]) => part), ...(noun === "group" ? [groups] : [])];
    this.#searched = new Map(searched.map((part) => [part, ""]));
    const failures = { panel: this.#failures.panel, load: () => null };
    this.#parts = [
      ["Failures", failures],
      [this.#isBatch ? "Rows" : "Jobs", this.#table],
      [`${noun[0].toUpperCase()}${noun.slice(1)}s`, groups],
      ...logs,
      ["Timeline", this.#timeline],
    ].map(([label, part]) => ({ label, part, panel: part.panel, load: () => this.#load(part) }));
    this.#field = new SearchField(this.#isBatch ? "row" : "job", {
      search: (text) => this.#search(text),
      entered: (text) => this.#reveal(text),
    });
    return new Tabs(this.#parts, this.#field.element, { left: () => this.#leavePart() });
  }

  // ---- what the kernel says ------------------------------------------------------------------------------

  start(el) {
    this.#listen({
      "change:frame": () => this.#tree.draw(),
      "change:nodes": () => this.#tree.update(),
      "change:head": () => this.#showHead(),
      "change:failures": () => this.#showFailures(),
      "change:seen_all": () => this.#showFailures(),
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
    this.#tabs?.open(this.#failed ? FAILURES : TABLE);
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
    this.#timeline?.close();
    this.#kernel.close();
    this.#kernel.send({ ask: "gone" });
  }

  #showHead() {
    const head = this.#model.get("head");
    this.root.setAttribute("aria-label", `Flow ${head.name ?? ""}`);
    this.#heading.update();
    this.#line?.update(this.#heading.now, false);
    this.#tools.update(head);
    if (!this.#whole) return;
    this.#actions.update(head);
    const failed = head.counts?.find(([state]) => state === "failed")?.[1] || 0;
    this.#tabs.rename(FAILURES, failed ? `Failures (${number(failed)})` : "Failures");
    if (failed && !this.#failed) this.#tabs.suggest(FAILURES);
    this.#failed = failed;
  }

  #showFailures() {
    this.#failures.update(this.#model.get("failures"), this.#model.get("seen_all"));
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
    followPage(this.root);
    this.#line?.update(this.#heading.now, stale);
  }

  #tick() {
    this.#showTime();
    this.#refreshPanels();
  }

  // What the panels show is read again when the counts have changed; what takes long is read seldom.
  async #refreshPanels() {
    const { counts, finished, left } = this.#model.get("head");
    const now = JSON.stringify([counts, finished, left]); // a retry may fail as many again
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
    this.#isOfTree = true;
    if (!box.folded) {
      this.#details.show({ key: box.key });
      return;
    }
    this.#details.showGroup(box);
    const opened = this.#model.get("head").opened || [];
    if (box.parent && !opened.includes(box.key)) {
      this.#kernel.ask("open", { key: box.key, parent: box.parent });
    }
  }

  // What was chosen in a part goes with it; what was chosen in the tree stays, as the tree does.
  #leavePart() {
    if (!this.#isOfTree) this.#details.close();
  }

  #show(chosen) {
    this.#isOfTree = false;
    this.#details.show(chosen);
  }

  // A part that is opened lists what is searched for, as the one does that was open when it was typed.
  #load(part) {
    if ((this.#searched.get(part) ?? this.#text) === this.#text) return part.load();
    this.#searched.set(part, this.#text);
    return part.search(this.#text);
  }

  // Boxes by their names, and what is listed below.
  async #search(text) {
    this.#text = text;
    const boxes = this.#tree.search(text);
    const found = await this.#list(text);
    return text ? foundWords(found, boxes, this.#isBatch ? "row" : "job") : "";
  }

  // In the open part; in the table where that part cannot be searched, or has no such group.
  async #list(text) {
    const { part } = this.#parts[this.#tabs.chosen];
    const found = this.#searched.has(part) ? await this.#read(part) : null;
    if (found && found.groups?.length !== 0) return found;
    if (text) this.#openTable();
    return this.#read(this.#table);
  }

  // What was chosen there before is out of sight, and is not meant.
  #openTable() {
    if (this.#tabs.chosen !== TABLE) this.#table.ofAll?.();
    this.#tabs.open(TABLE);
  }

  // Once more where a refresh came first.
  async #read(part) {
    return (await this.#load(part)) ?? this.#load(part);
  }

  // The row whose label was typed: its pile opens in the tree, and all about it stands beside.
  async #reveal(text) {
    const { position, key } = await this.#kernel.ask("reveal", { text });
    if (position === null || position === undefined) return;
    this.#tree.mark(key);
    this.#show({ position });
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
