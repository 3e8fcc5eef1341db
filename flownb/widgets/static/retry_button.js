// Runs what has failed again, and says what came of it.

import { button, html, say } from "./elements.js";

// The button, and where it says what it does.
export function retryButton(label, retry) {
  const told = html("span", { class: "fn-muted", role: "status" });
  const press = async () => {
    say(told, "retrying …");
    const { error } = await retry();
    say(told, error || "");
  };
  return [button(label, press), told];
}
