// What stands beside and below the tree: one job, the table, the failures, the timeline.

const number = (count) => count.toLocaleString("en");
const counted = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;

function duration(ms) {
  if (ms === null || ms === undefined) return "";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(1).replace(/\.0$/, "")} s`;
  let left = Math.round(ms / 1000);
  const parts = [];
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    const count = Math.floor(left / size);
    left -= count * size;
    if (count || parts.length) parts.push(count ? `${count} ${unit}` : "");
  }
  return parts.slice(0, 2).filter(Boolean).join(" ");
}

const clock = (ms) => (ms ? new Date(ms).toLocaleTimeString() : "");

function pill(state, tone = state) {
  return html("span", { class: `fn-state fn-${tone}` }, state);
}

// ---- one job -----------------------------------------------------------------------------------------

function makeDetails(ask, { closed }) {
  const body = html("div", { class: "fn-details-body" });
  const panel = html("aside", { class: "fn-details", "aria-label": "The chosen job", hidden: "" },
    html("button", { class: "fn-x", type: "button", "aria-label": "Close", click: close }, "×"), body);
  let shown = null;

  function close() {
    const leaving = panel.contains(document.activeElement);
    shown = null;
    panel.hidden = true;
    closed(leaving);
  }
  panel.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    close();
  });

  const fact = (name, value) => (value === "" || value === null ? [] : [html("dt", {}, name), html("dd", {}, String(value))]);
  const text = (name, value, open) => (value ? html("details", open ? { open: "" } : {}, html("summary", {}, name), html("pre", {}, value)) : null);

  async function show(key) {
    const again = shown === key;
    shown = key;
    panel.hidden = false;
    if (!again) body.replaceChildren(html("p", { class: "fn-muted" }, "asking the kernel …"));
    const job = await ask("job", { key });
    if (shown !== key) return;
    if (job.error && !job.key) return void body.replaceChildren(html("p", { class: "fn-error" }, job.error));
    const open = new Map([...body.querySelectorAll("details")].map((d) => [d.firstChild.textContent, d.open]));
    const ran = job.started ? duration((job.ended || Date.now()) - job.started) : "";
    body.replaceChildren(
      html("h3", {}, job.name), pill(job.state),
      html("dl", {}, ...fact("queue", job.queue), ...fact("id", job.id), ...fact("attempts", job.attempts),
        ...fact("created", clock(job.created)), ...fact("started", clock(job.started)), ...fact("ended", clock(job.ended)), ...fact("ran", ran)),
      ...[text("error", job.error, true), text("traceback", job.traceback), text("result", job.result, true), text("data", job.data, true),
        text("progress", job.progress === "0" ? "" : job.progress), text("failed runs", job.failed_runs.map(ranThen).join("\n")), text(logWords(job), job.log.join("\n"), true)].filter(Boolean));
    for (const part of again ? body.querySelectorAll("details") : []) part.open = open.get(part.firstChild.textContent) ?? part.open;
    return job;
  }

  const ranThen = ([began, ended]) => `${clock(began)}, ran ${duration(ended - began)}`;
  const logWords = (job) => (job.log_rows > job.log.length ? `log (the last ${job.log.length} of ${number(job.log_rows)} rows)` : "log");

  function group(box, [, , shares]) {
    shown = null;
    panel.hidden = false;
    body.replaceChildren(html("h3", {}, box.name), html("ul", { class: "fn-plain" }, ...shares.map(([state, count]) =>
      html("li", { class: `fn-${state}` }, html("span", { class: "fn-swatch" }), ` ${number(count)} ${state}`))));
  }

  return { panel, show, group, refresh: () => shown && show(shown) };
}

// ---- the table ------------------------------------------------------------------------------------------

const HEADINGS = { name: "name", queue: "queue", state: "state", attempts: "attempts", waited: "waited", ran: "ran", error: "error" };

function makeTable(model, ask, { picked }) {
  const states = html("select", { "aria-label": "State", change: first });
  const queues = html("select", { "aria-label": "Queue", change: first });
  const head = html("tr"), rows = html("tbody");
  const status = html("span", { class: "fn-muted", role: "status" });
  const before = html("button", { type: "button", class: "fn-button", click: previous }, "Previous");
  const after = html("button", { type: "button", class: "fn-button", click: next }, "Next");
  const limit = html("p", { class: "fn-muted fn-limit" });
  const panel = html("div", {}, html("div", { class: "fn-bar-of-tools" }, states, queues, status, html("span", { class: "fn-gap" }), before, after), limit,
    html("div", { class: "fn-scroll" }, html("table", { class: "fn-jobs", "aria-label": "Jobs" }, html("thead", {}, head), rows)));
  let starts = [0]; // of the pages from the first to the wanted one: a refresh meanwhile reads that one, too
  let following = null, sort = null, descending = false, latest = 0, headed = "";

  function options(select, all, values) {
    const chosen = select.value;
    if (select.childElementCount === values.length + 1) return;
    select.replaceChildren(html("option", { value: "" }, all), ...values.map((value) => html("option", { value }, value)));
    select.value = chosen;
  }

  function order(column) {
    descending = sort === column && !descending;
    sort = column;
    first();
  }

  function first() {
    starts = [0];
    return load();
  }

  function next() {
    if (starts.at(-1) < following) starts.push(following); // a second click before the answer asks for the same page
    load();
  }

  function previous() {
    if (starts.length > 1) starts.pop();
    load();
  }

  async function load() {
    const { queues: known } = model.get("head"), mine = ++latest, start = starts.at(-1);
    options(states, "all states", ["failed", "active", "completed", "waiting", "delayed", "prioritized", "waiting-children"]);
    options(queues, "all queues", known);
    const found = await ask("jobs", { start, state: states.value, queue: queues.value, sort, descending });
    if (mine !== latest) return;
    if (found.error) return say(status, found.error);
    if (start && found.of !== null && start >= found.of) return first(); // there are fewer by now
    following = found.next;
    before.disabled = starts.length < 2;
    after.disabled = following === null;
    say(status, range(found, start));
    const unsorted = `Over ${number(found.most_sorted)} jobs are not sorted: failed ones first, then as added. Choose a queue or “failed” for fewer.`;
    const shared = "Rows share jobs here; those that failed are under Failures.";
    say(limit, [found.sortable ? "" : unsorted, model.get("head").rows ? shared : ""].join(" ").trim());
    headings(found);
    patch(found.rows);
    return found;
  }

  function headings({ columns, sortable }) {
    const now = JSON.stringify([columns, sortable, sort, descending]);
    if (now === headed) return;
    headed = now;
    const focused = [...head.children].findIndex((cell) => cell.contains(document.activeElement));
    head.replaceChildren(...columns.map((column) => heading(column, sortable)));
    head.children[focused]?.firstChild.focus?.();
  }

  function range({ rows: { length }, of, searched, among, next }, start) {
    if (of === 0) return "no such job";
    if (of !== null) return `${number(start + 1)} to ${number(start + length)} of ${counted(of, "job")}`;
    return `${number(length)} found, ${number(searched)} of ${counted(among, "job")} searched${next === null ? "" : "; Next searches on"}`;
  }

  function heading(column, sortable) {
    const kind = ["attempts", "waited", "ran"].includes(column) ? "fn-number" : "fn-text";
    const arrow = sort === column ? (descending ? " ↓" : " ↑") : "";
    if (!sortable) return html("th", { class: kind }, HEADINGS[column]);
    return html("th", { class: kind, "aria-sort": sort === column ? (descending ? "descending" : "ascending") : "none" },
      html("button", { type: "button", click: () => order(column) }, HEADINGS[column] + arrow));
  }

  // Rows and cells are kept and their words changed: scroll, focus and selection stay.
  function patch(found) {
    while (rows.childElementCount > found.length) rows.lastChild.remove();
    found.forEach(([key, name, queue, state, attempts, waited, ran, error], n) => {
      let row = rows.children[n];
      if (!row) {
        row = html("tr", {}, html("td", {}, html("button", { type: "button", class: "fn-link", click: () => picked(row.dataset.key) })),
          html("td"), html("td", {}, html("span", { class: "fn-state" })), html("td", { class: "fn-number" }), html("td", { class: "fn-number" }), html("td", { class: "fn-number" }), html("td", { class: "fn-message" }));
        rows.append(row);
      }
      row.dataset.key = key;
      const cells = row.children;
      say(cells[0].firstChild, name);
      say(cells[1], queue);
      say(cells[2].firstChild, state);
      cells[2].firstChild.setAttribute("class", `fn-state fn-${state}`);
      say(cells[3], String(attempts));
      say(cells[4], duration(waited));
      say(cells[5], duration(ran));
      say(cells[6], error || "");
    });
  }

  return { panel, load };
}

// ---- failures by message -----------------------------------------------------------------------------------

function drawFailures(list, groups, most, picked) {
  list.replaceChildren(...groups.slice(0, most).map(({ message, count, jobs }) => {
    const names = jobs.map(([key, name]) => html("button", { type: "button", class: "fn-link", click: () => picked(key) }, name));
    const where = names.flatMap((name, n) => (n ? [", ", name] : [name]));
    return html("li", {}, html("b", {}, `${number(count)} ×`), " ", html("span", { class: "fn-message" }, message),
      html("div", { class: "fn-muted" }, ...where, count > jobs.length ? " …" : ""));
  }));
  const rest = groups.slice(most).reduce((sum, group) => sum + group.count, 0);
  if (rest) list.append(html("li", { class: "fn-muted" }, `and ${counted(rest, "job")} with other messages`));
}

// ---- the timeline: a picture of shapes and text, taken in piece by piece --------------------------------------

const SHAPES = new Set(["svg", "g", "rect", "path", "polygon", "circle", "text", "title"]);

function adopt(text) {
  const parsed = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
  const copy = (element) => {
    if (!SHAPES.has(element.localName)) return null;
    const made = svg(element.localName);
    for (const { name, value } of element.attributes) if (!/^(on|xmlns|href|xlink)/i.test(name)) made.setAttribute(name, value);
    made.append(...[...element.childNodes].map((part) => (part.nodeType === 3 ? part.textContent : part.nodeType === 1 ? copy(part) : null)).filter((part) => part !== null));
    return made;
  };
  return copy(parsed);
}
