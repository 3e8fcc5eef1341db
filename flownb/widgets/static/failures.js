// Failed jobs by message, the most frequent message first.

import { html, link } from "./elements.js";
import { counted, number } from "./words.js";

function drawGroup({ message, count, jobs }, picked) {
  const names = jobs.map(([key, name]) => link(name, () => picked(key)));
  const listed = names.flatMap((name, n) => (n ? [", ", name] : [name]));
  return html(
    "li",
    {},
    html("b", {}, `${number(count)} ×`),
    " ",
    html("span", { class: "fn-message" }, message),
    html("div", { class: "fn-muted" }, ...listed, count > jobs.length ? " …" : ""),
  );
}

// `picked` is called with the key of the job a person chooses.
export function drawFailures(list, groups, { most, picked }) {
  list.replaceChildren(...groups.slice(0, most).map((group) => drawGroup(group, picked)));
  const rest = groups.slice(most).reduce((sum, group) => sum + group.count, 0);
  if (rest) list.append(html("li", { class: "fn-muted" }, `and ${counted(rest, "job")} with other messages`));
}
