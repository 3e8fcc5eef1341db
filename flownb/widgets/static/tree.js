// The tree: drawn once for each shape of the flow, then only colours and words change. Data goes in as text.

const SVG = "http://www.w3.org/2000/svg";
const LINE = 16, BAR = 5, LEAST_SCALE = 0.62;

function put(element, attributes, inside) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...inside.filter((part) => part !== null));
  return element;
}

const svg = (tag, attributes = {}, ...inside) => put(document.createElementNS(SVG, tag), attributes, inside);
const html = (tag, attributes = {}, ...inside) => put(document.createElement(tag), attributes, inside);

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Boxes are as wide as their words in one font; another one may be wider.
function squeeze(text, room) {
  text.removeAttribute("textLength");
  if (text.getComputedTextLength() <= room) return;
  text.setAttribute("textLength", room);
  text.setAttribute("lengthAdjust", "spacingAndGlyphs");
}

function badge(signs, tone) {
  const sign = signs[tone] || signs.unknown;
  const paths = sign.paths.map(([d, filled]) => svg("path", { class: filled ? "fn-sign fn-filled" : "fn-sign", d }));
  return svg("g", { class: sign.solid ? "fn-badge fn-solid" : "fn-badge" }, svg("circle", { r: 8 }), ...paths);
}

function drawNode(box, signs) {
  const [x, y, width, height] = box.rect;
  const lines = box.folded ? 2 : 1;
  const top = (height - LINE * (1 + lines) - (box.folded ? BAR + 3 : 0)) / 2;
  const pile = box.folded ? [6, 3, 0] : [0];
  const shapes = pile.map((off) => svg("rect", { class: "fn-box", x: off, y: -off, width, height, rx: 7 }));
  const title = svg("title");
  const mark = svg("g", { transform: `translate(18 ${top + LINE / 2 + 4})` });
  const name = svg("text", { class: "fn-name", x: 34, y: top + 12.5 }, box.name);
  const notes = Array.from({ length: lines }, (_, n) => svg("text", { class: "fn-note", x: 34, y: top + 12 + LINE * (n + 1) }));
  const bar = svg("g", { class: "fn-bar" });
  const group = svg("g", { transform: `translate(${x} ${y})`, role: "button", tabindex: "-1" },
    title, ...shapes, mark, name, ...notes, bar);
  const settle = () => { for (const text of [name, ...notes]) squeeze(text, width - 42); };
  let before = "";
  const update = ([tone, words, shares, said]) => {
    const now = JSON.stringify([tone, words, shares, said]);
    if (now === before) return;
    before = now;
    group.setAttribute("class", `fn-node fn-${tone}`);
    group.setAttribute("aria-label", said);
    say(title, said);
    mark.replaceChildren(badge(signs, tone));
    notes.forEach((note, n) => say(note, words[n] || ""));
    settle();
    bar.replaceChildren(...barParts(shares, width - 20).map(([state, from, wide]) =>
      svg("rect", { class: `fn-part fn-${signs[state] ? state : "unknown"}`, x: 10 + from, y: height - BAR - 5, width: wide, height: BAR })));
  };
  return { group, update, settle, box };
}

function barParts(shares, width) {
  const total = shares.reduce((sum, [, count]) => sum + count, 0);
  const wide = shares.map(([, count]) => Math.max((width * count) / total, 2)); // one failed job of thousands is seen
  const scale = width / wide.reduce((sum, part) => sum + part, 0);
  let from = 0;
  return shares.map(([state], n) => {
    const part = [state, from, wide[n] * scale];
    from += wide[n] * scale;
    return part;
  });
}

// The tree with its canvas: `pick(box)` is called with the box a person chooses.
function makeTree(model, { most, pick }) {
  const world = svg("g");
  const canvas = svg("svg", { class: "fn-canvas", role: "group", "aria-label": "Tree of jobs: arrow keys walk, Enter opens" }, world);
  let nodes = new Map(), parents = new Map(), view = { k: 1, x: 0, y: 0 }, moved = false, focus = "n0";

  const frame = () => model.get("frame");
  const show = () => world.setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.k})`);
  const size = () => [canvas.clientWidth || 600, canvas.clientHeight || 200];

  function fit(all = false) {
    const { width, height } = frame();
    if (!width) return;
    const [wide] = size();
    const k = Math.max(LEAST_SCALE, Math.min(1, wide / width, most / height));
    if (!all) canvas.style.height = `${Math.min(Math.max(height * k, 64), most)}px`;
    const high = size()[1];
    view.k = all ? Math.min(1, wide / width, high / height) : k;
    view.x = (wide - width * view.k) / 2;
    view.y = all ? (high - height * view.k) / 2 : 0;
    if (!all && width * k > wide) view.x = Math.min(0, wide / 2 - middle("n0") * k); // the root is in sight
    moved = all;
    show();
  }

  function middle(id) {
    const box = nodes.get(id)?.box;
    return box ? box.rect[0] + box.rect[2] / 2 + frame().shift[0] : frame().width / 2;
  }

  function zoom(by, at) {
    const [wide, high] = size();
    const [x, y] = at || [wide / 2, high / 2];
    const k = Math.min(Math.max(view.k * by, 0.1), 3);
    view = { k, x: x - ((x - view.x) * k) / view.k, y: y - ((y - view.y) * k) / view.k };
    moved = true;
    show();
  }

  function reveal(id) {
    const { rect: place } = nodes.get(id).box, [sx, sy] = frame().shift, [wide, high] = size();
    const x = view.x + (place[0] + sx + place[2] / 2) * view.k, y = view.y + (place[1] + sy + place[3] / 2) * view.k;
    if (x > 40 && x < wide - 40 && y > 20 && y < high - 20) return;
    view = { k: view.k, x: view.x + wide / 2 - x, y: view.y + high / 2 - y };
    moved = true;
    show();
  }

  function draw() {
    const { nodes: boxes = [], arrows: wires = [], shift = [0, 0], note = "", width, height } = frame();
    const said = model.get("nodes"), signs = model.get("signs");
    const focused = canvas.contains(document.activeElement), at = nodes.get(focus)?.box.key;
    nodes = new Map(boxes.map((box) => [box.id, drawNode(box, signs)]));
    parents = new Map(wires.map((wire) => [wire.child, wire.parent]));
    const lines = wires.map((wire) => svg("g", { class: wire.optional ? "fn-edge fn-optional" : "fn-edge" },
      svg("path", { d: wire.path }), svg("polygon", { points: wire.head })));
    const words = note ? [svg("text", { class: "fn-note", x: width / 2, y: height - 14, "text-anchor": "middle" }, note)] : [];
    world.replaceChildren(svg("g", { transform: `translate(${shift.join(" ")})` }, ...lines, ...[...nodes.values()].map((n) => n.group)), ...words);
    for (const [id, node] of nodes) {
      node.update(said[id] || ["unknown", [], [], ""]);
      node.group.addEventListener("click", () => { if (!dragged) choose(id); });
      node.group.addEventListener("focus", () => { rove(id); reveal(id); });
    }
    emphasize();
    rove(boxes.find((box) => box.key === at)?.id || "n0");
    if (!moved) fit();
    if (focused) nodes.get(focus)?.group.focus();
  }

  function update() {
    const said = model.get("nodes");
    for (const [id, node] of nodes) if (said[id]) node.update(said[id]);
    emphasize();
  }

  // What was chosen and what was searched for stay so when a box says something else, or is drawn anew.
  let chosen = null, wanted = "";
  const named = ({ box }) => box.name.toLowerCase().includes(wanted);
  function emphasize() {
    for (const node of nodes.values()) {
      node.group.classList.toggle("fn-chosen", node.box.key === chosen);
      node.group.classList.toggle("fn-dim", Boolean(wanted) && !named(node));
    }
  }

  // ---- one tab stop for the tree; arrow keys walk in it ------------------------------------------------
  function rove(id) {
    nodes.get(focus)?.group.setAttribute("tabindex", "-1");
    focus = id;
    nodes.get(focus)?.group.setAttribute("tabindex", "0");
  }

  function choose(id) {
    rove(id);
    mark(id);
    pick(nodes.get(id).box);
  }

  function mark(id) {
    chosen = nodes.get(id)?.box.key ?? null;
    emphasize();
  }

  // What was chosen is so no more; who leaves what stood beside it comes back here.
  function unmark(leaving) {
    mark(null);
    if (leaving) nodes.get(focus)?.group.focus();
  }

  function next(key) {
    const below = (id) => [...parents].filter(([, parent]) => parent === id).map(([child]) => child);
    if (key === "ArrowUp") return parents.get(focus);
    if (key === "ArrowDown") return below(focus)[0];
    const row = below(parents.get(focus));
    return row[row.indexOf(focus) + (key === "ArrowRight" ? 1 : -1)];
  }

  canvas.addEventListener("keydown", (event) => {
    const way = { "+": () => zoom(1.25), "-": () => zoom(0.8), 0: () => fit(true), Enter: () => choose(focus), " ": () => choose(focus) }[event.key];
    const target = event.key.startsWith("Arrow") ? next(event.key) : undefined;
    if (target) nodes.get(target)?.group.focus();
    else if (way) way();
    else if (!event.key.startsWith("Arrow")) return;
    event.preventDefault();
    event.stopPropagation(); // Jupyter's own keys
  });

  // ---- zoom and pan: the wheel alone scrolls the page ----------------------------------------------------
  let held = null, dragged = false;
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const { left, top } = canvas.getBoundingClientRect();
    zoom(event.deltaY < 0 ? 1.15 : 0.87, [event.clientX - left, event.clientY - top]);
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => { held = [event.clientX - view.x, event.clientY - view.y]; dragged = false; });
  const drag = (event) => {
    if (!held) return;
    const [x, y] = [event.clientX - held[0], event.clientY - held[1]];
    if (Math.abs(x - view.x) + Math.abs(y - view.y) < 4 && !dragged) return;
    dragged = moved = true;
    view = { k: view.k, x, y };
    show();
  };
  const drop = () => { held = null; };
  window.addEventListener("pointermove", drag);
  window.addEventListener("pointerup", drop);
  const resized = new ResizeObserver(() => { // also when it comes onto the page, where words can be measured
    for (const node of nodes.values()) node.settle();
    if (!moved) fit();
  });
  resized.observe(canvas);

  function search(text) {
    wanted = text.trim().toLowerCase();
    emphasize();
    const found = [...nodes].filter(([, node]) => named(node)).map(([id]) => id);
    if (wanted && found.length) reveal(found[0]);
    return wanted ? found.length : null;
  }

  function close() {
    window.removeEventListener("pointermove", drag);
    window.removeEventListener("pointerup", drop);
    resized.disconnect();
  }

  return { canvas, draw, update, fit, zoom, search, unmark, close };
}
