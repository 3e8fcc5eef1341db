// Runs the rows, or jobs, of one kind of failure again, and says what came of it.

import { button, html, say } from "./elements.js";

// The button, and where it says what it does.
export function retryButton(retry) {
  const told = html("span", { class: "fn-muted", role: "status" });
  const press = async () => {
    say(told, "retrying …");
    const { error } = await retry();
    say(told, error || "");
  };
  return [button("Retry these", press), told];
}
