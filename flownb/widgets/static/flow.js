// A flow's live view. The kernel fills the model; this draws it, asks for more, and says whether anybody looks.

const LOOK_EVERY = 5000, STALE_AFTER = 16000;
const SELDOM = 20, LONG = 500; // a panel is read for a twentieth of the time at most; ms after which that is said
const AGAIN = "In a new one: fn.attach(name)";
const ACTIONS = {
  pause: ["Pause", "take no new jobs for now"],
  resume: ["Resume", "go on"],
  retry: ["Retry failed", "run what failed again, then what stands above it"],
  cancel: ["Cancel", "end the flow", "Cancel the flow? What has not run will not run."],
  remove: ["Remove", "delete the flow and its results from the server", "Remove the flow? Its jobs and results are deleted."],
};

function asker(model) {
  const mine = Math.random().toString(36).slice(2), open = new Map();
  let count = 0;
  const hear = (message) => {
    open.get(message.answer)?.(message);
    open.delete(message.answer);
  };
  model.on("msg:custom", hear);
  const tell = (message) => {
    try {
      model.send(message);
      return true;
    } catch { // a kernel that has started anew does not know this view
      return false;
    }
  };
  const ask = (what, more = {}) => new Promise((resolve) => {
    const name = `${mine}-${++count}`;
    open.set(name, resolve);
    if (!tell({ ask: what, number: name, ...more })) hear({ answer: name, error: `The kernel is gone. ${AGAIN}` });
  });
  return { ask, tell, close: () => model.off("msg:custom", hear) };
}

function render({ model, el }) {
  const whole = model.get("whole");
  const { ask, tell, close: hush } = asker(model);
  const head = html("div", { class: "fn-head" });
  const name = html("span", { class: "fn-title" }), state = html("span", { role: "status" }), size = html("span", { class: "fn-muted" });
  const fresh = html("span", { class: "fn-fresh", role: "status" });
  const buttons = html("span", { class: "fn-actions" });
  head.append(name, state, size, fresh, html("span", { class: "fn-gap" }), buttons);
  const track = html("div", { class: "fn-track", role: "img" }), key = html("div", { class: "fn-key" });
  const runs = html("span", { class: "fn-runs" });
  const trouble = html("p", { class: "fn-error", role: "alert", hidden: "" });
  const failures = html("ul", { class: "fn-failures" });

  const panels = [];
  const button = (label, click, more = {}) => html("button", { type: "button", class: "fn-button", click, ...more }, label);
  let fold = null, heads = [], chosen = 0, offered = [], asking = false;
  const tree = makeTree(model, { most: whole ? 520 : 420, pick });
  const details = makeDetails(ask, { closed: tree.unmark });
  const table = whole ? makeTable(model, ask, { picked: details.show }) : null;
  const stage = html("div", { class: "fn-stage" }, html("div", { class: "fn-tree" }, tools(), tree.canvas), details.panel);
  const root = html("div", { class: whole ? "fn-flow fn-live fn-whole" : "fn-flow fn-live", role: "region" }, head, track, html("div", { class: "fn-facts" }, key, runs), trouble, stage, whole ? tabs() : failures);
  el.replaceChildren(root);

  // ---- what the kernel says ----------------------------------------------------------------------------
  function heading() {
    const { name: called = "", state: its = "", tone, total = 0, rows = 0, counts = [], actions = [] } = model.get("head");
    say(name, called);
    root.setAttribute("aria-label", `Flow ${called}`);
    say(state, its);
    state.setAttribute("class", `fn-state fn-${tone}`);
    say(size, (rows ? `${counted(rows, "row")} and ` : "") + counted(total - rows, "job"));
    complain();
    const signs = model.get("signs"), toned = (s) => (signs[s] ? s : "unknown");
    track.setAttribute("aria-label", counts.map(([s, n]) => `${number(n)} ${s}`).join(", ") || "no jobs");
    const left = (s) => (["completed", "failed", "active"].includes(s) ? "" : " fn-left");
    track.replaceChildren(...counts.map(([s, n]) => html("span", { class: `fn-share fn-${toned(s)}${left(s)}`, style: `flex-grow:${n}`, title: `${number(n)} ${s}` })));
    key.replaceChildren(...counts.map(([s, n]) => html("span", { class: `fn-${toned(s)}` }, html("b", {}, `${signs[toned(s)].sign} ${number(n)}`), ` ${s}`)));
    if (whole) steer(actions);
    const failed = counts.find(([s]) => s === "failed")?.[1];
    if (whole) say(heads[1], failed ? `Failures (${number(failed)})` : "Failures");
    fold.hidden = !(model.get("head").opened || []).length;
    running();
  }

  let refused = ""; // what the last button did not do, until the next one
  function complain() {
    const { trouble: problem } = model.get("head");
    trouble.hidden = !(problem || refused);
    say(trouble, problem || refused);
  }

  function running() {
    const { counts = [], oldest, left, created, finished } = model.get("head"), { at } = model.get("beat");
    const active = counts.find(([s]) => s === "active")?.[1] || 0, since = at + (performance.now() - heard);
    const parts = [];
    if (active) parts.push(`${number(active)} running` + (oldest ? `, ${active > 1 ? "the oldest " : ""}for ${duration(Math.floor(Math.max(since - oldest, 0) / 1000) * 1000 || 1000)}` : ""));
    if (left && active) parts.push(left);
    if (finished) parts.push(`took ${duration(finished - created)}`);
    say(runs, parts.join(" · "));
  }

  let heard = performance.now(), beat = Date.now(), lookedAt = "";
  function alive() {
    heard = performance.now();
    beat = Date.now();
    running();
    freshness();
  }
  function freshness() {
    const stale = Date.now() - beat > STALE_AFTER;
    root.classList.toggle("fn-stale", stale);
    const text = stale ? `not live since ${clock(beat)}` : "live";
    if (stale) fresh.title = `The kernel is gone or does not answer. ${AGAIN}`;
    say(fresh, text);
  }

  const redraw = () => tree.draw(), words = () => tree.update();
  const failing = () => drawFailures(failures, model.get("failures"), whole ? 8 : 3, details.show);
  const listeners = { "change:frame": redraw, "change:nodes": words, "change:head": heading, "change:failures": failing, "change:beat": alive };
  for (const [event, call] of Object.entries(listeners)) model.on(event, call);

  // ---- what a person does ------------------------------------------------------------------------------
  function pick(box) {
    if (!box.folded) return details.show(box.key);
    details.group(box, model.get("nodes")[box.id]);
    if (box.parent && !(model.get("head").opened || []).includes(box.key)) ask("open", { key: box.key, parent: box.parent });
  }

  function tools() {
    const found = html("span", { class: "fn-muted", role: "status" });
    const search = html("input", { type: "search", placeholder: "find a job", "aria-label": "Find in the tree", input: () => {
      const count = tree.search(search.value);
      say(found, count === null ? "" : counted(count, "match").replace("matchs", "matches"));
    }, keydown: (event) => event.stopPropagation() });
    const small = (sign, label, click) => button(sign, click, { "aria-label": label, title: label });
    fold = small("fold", "Fold the opened groups again", () => ask("fold"));
    return html("div", { class: "fn-tools" }, ...(whole ? [search, found, html("span", { class: "fn-gap" })] : []), fold,
      small("−", "Smaller", () => tree.zoom(0.8)), small("+", "Larger", () => tree.zoom(1.25)), small("fit", "Show all of it", () => tree.fit(true)));
  }

  function steer(actions) {
    if (offered.join() === actions.join()) return;
    offered = actions;
    if (!asking) offer(); // a question is not taken away from under the pointer
  }

  function offer(what = offered[0]) {
    const focused = buttons.contains(document.activeElement);
    asking = false;
    buttons.replaceChildren(...offered.map((action) => {
      const [label, title, question] = ACTIONS[action];
      return button(label, () => (question ? confirm(action, label, question) : act(action)), { title });
    }));
    if (focused) buttons.children[Math.max(offered.indexOf(what), 0)]?.focus();
  }

  function confirm(what, label, question) {
    asking = true;
    const no = button("Keep", () => offer(what));
    buttons.replaceChildren(html("span", { role: "alert" }, question), button(label, () => { offer(what); act(what); }, { class: "fn-button fn-danger" }), no);
    no.focus();
  }

  async function act(what) {
    say(fresh, `${ACTIONS[what][0].toLowerCase()} …`);
    refused = (await ask("do", { what })).error || "";
    complain();
    freshness();
  }

  function tabs() {
    const picture = html("div", { class: "fn-scroll", tabindex: "0", role: "region", "aria-label": "Timeline" });
    const timeline = async () => {
      const found = await ask("timeline");
      const late = found.took > LONG ? html("p", { class: "fn-muted fn-limit" }, `As of ${clock(Date.now())}: so many jobs are read seldom. A click on Timeline reads them now.`) : "";
      picture.replaceChildren(...(found.error ? [html("p", { class: "fn-error" }, found.error)] : [late, adopt(found.svg)]));
      return found;
    };
    const panel = (label, inside, load) => [label, html("div", { role: "tabpanel", "aria-label": label }, inside), load];
    panels.push(panel("Jobs", table.panel, table.load), panel("Failures", failures, () => {}), panel("Timeline", picture, timeline));
    heads = panels.map(([label], n) => html("button", { type: "button", role: "tab", click: () => open(n), keydown: (event) => {
      const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!way) return;
      event.stopPropagation();
      open((n + way + panels.length) % panels.length);
      heads[chosen].focus();
    } }, label));
    const open = (n) => {
      chosen = n;
      heads.forEach((head, i) => { head.setAttribute("aria-selected", String(i === n)); head.setAttribute("tabindex", i === n ? "0" : "-1"); });
      panels.forEach(([, panel], i) => { panel.hidden = i !== n; });
      panels[n][2]();
    };
    queueMicrotask(() => open(0));
    return html("div", { class: "fn-tabs" }, html("div", { role: "tablist", "aria-label": "Parts of the flow" }, ...heads), ...panels.map(([, panel]) => panel));
  }

  // Jupyter's keys are bare letters: `d d` on a button here would delete the cell. Ctrl+S and the like stay Jupyter's.
  const keep = ({ target, ctrlKey, metaKey, altKey }) => {
    if (root.contains(target)) target.toggleAttribute("data-lm-suppress-shortcuts", !(ctrlKey || metaKey || altKey));
  };
  window.addEventListener("keydown", keep, true);

  // ---- is anybody looking? -------------------------------------------------------------------------------
  let inSight = true;
  const look = () => tell({ ask: "look", on_screen: inSight && document.visibilityState === "visible" });
  const seen = new IntersectionObserver(([entry]) => { inSight = entry.isIntersecting; look(); });
  seen.observe(root);
  document.addEventListener("visibilitychange", look);
  const looking = setInterval(look, LOOK_EVERY);
  const ticking = setInterval(() => {
    freshness();
    running();
    follow();
  }, 1000);

  // What the panels show is read again when the counts have changed; what takes long is read seldom.
  let reading = false, again = 0;
  async function follow() {
    const { counts, finished } = model.get("head"), now = JSON.stringify([counts, finished]); // a retry may fail as many again
    if (now === lookedAt || !inSight || reading || (performance.now() < again && !finished)) return;
    lookedAt = now;
    reading = true;
    const found = await Promise.all([details.refresh(), whole && chosen !== 1 ? panels[chosen][2]() : null]);
    reading = false;
    again = performance.now() + SELDOM * found.reduce((sum, answer) => sum + (answer?.took || 0), 0);
  }
  const still = hideStill(el);

  redraw();
  heading();
  failing();
  alive();
  look();
  return () => {
    for (const [event, call] of Object.entries(listeners)) model.off(event, call);
    clearInterval(looking);
    clearInterval(ticking);
    document.removeEventListener("visibilitychange", look);
    window.removeEventListener("keydown", keep, true);
    seen.disconnect();
    tree.close();
    hush();
    still();
    tell({ ask: "gone" });
  };
}

// The picture that stays in the notebook is the output before this one: hidden while the live view is there.
function hideStill(el) {
  let hidden = null;
  const hide = () => {
    for (let step = el, n = 0; step && n < 8; step = step.parentElement, n++) {
      const before = step.previousElementSibling;
      if (before?.querySelector(".fn-flow:not(.fn-live)")) {
        hidden = before;
        hidden.style.display = "none";
        return;
      }
    }
  };
  requestAnimationFrame(hide);
  return () => { if (hidden) hidden.style.display = ""; };
}

export default { render };
