// The line that debugs a row, copied for a cell: views do not run what a person has not typed.

import { button, html } from "./elements.js";

const DEBUG_TITLE = "Copy the line that runs this row in the debugger";

// The button, and where it says what it has done.
export function debugButton(lineOf) {
  const told = html("span", { class: "fn-muted fn-told", role: "status" });
  const copy = async () => {
    const line = lineOf();
    let done = "type ";
    try {
      await navigator.clipboard.writeText(line);
      done = "copied: ";
    } catch {} // a page that may not write there
    told.replaceChildren(done, html("code", {}, line));
  };
  return [button("Debug", copy, { title: DEBUG_TITLE }), told];
}
