// Failed jobs by kind, the most frequent kind first; what the kernel left out is a last group without jobs.

import { html, link } from "./elements.js";
import { counted, number } from "./words.js";

function drawGroup({ message, example, count, jobs }, picked) {
  const names = jobs.map(([key, name]) => link(name, () => picked(key)));
  const listed = names.flatMap((name, n) => (n ? [", ", name] : [name]));
  return html(
    "li",
    {},
    html("b", {}, `${number(count)} ×`),
    " ",
    html("span", { class: "fn-message" }, message),
    ...(example ? [html("div", { class: "fn-muted" }, `such as ${example}`)] : []),
    html("div", { class: "fn-muted" }, ...listed, count > jobs.length ? " …" : ""),
  );
}

// `picked` is called with the key of the job a person chooses.
export function drawFailures(list, groups, { most, picked }) {
  const drawn = groups.slice(0, most).filter(({ jobs }) => jobs.length);
  list.replaceChildren(...drawn.map((group) => drawGroup(group, picked)));
  const rest = groups.slice(drawn.length).reduce((sum, group) => sum + group.count, 0);
  if (rest) list.append(html("li", { class: "fn-muted" }, `and ${counted(rest, "job")} more that failed`));
}
