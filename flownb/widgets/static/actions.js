// The buttons that steer the flow. What cannot be taken back is asked first.

import { button, html } from "./elements.js";

const ACTIONS = {
  pause: { label: "Pause", title: "take no new jobs for now" },
  resume: { label: "Resume", title: "go on" },
  retry: { label: "Retry failed", title: "run what failed again, then what stands above it" },
  cancel: {
    label: "Cancel",
    title: "end the flow",
    question: "Cancel the flow? What has not run will not run.",
  },
  remove: {
    label: "Remove",
    title: "delete the flow and its results from the server",
    question: "Remove the flow? Its jobs and results are deleted.",
  },
};

export class Actions {
  element = html("span", { class: "fn-actions" });
  #act; // called with the name of an action and its label
  #offered = [];
  #asking = false;

  constructor(act) {
    this.#act = act;
  }

  update({ actions = [] }) {
    if (this.#offered.join() === actions.join()) return;
    this.#offered = actions;
    if (!this.#asking) this.#offer(actions[0]); // a question is not taken away from under the pointer
  }

  // The focus goes to the button of `action` if it was on one of these.
  #offer(action) {
    const focused = this.element.contains(document.activeElement);
    this.#asking = false;
    this.element.replaceChildren(...this.#offered.map((name) => this.#button(name)));
    if (focused) this.element.children[Math.max(this.#offered.indexOf(action), 0)]?.focus();
  }

  #button(name) {
    const { label, title, question } = ACTIONS[name];
    return button(label, () => (question ? this.#confirm(name) : this.#act(name, label)), { title });
  }

  #confirm(name) {
    const { label, question } = ACTIONS[name];
    this.#asking = true;
    const yes = () => {
      this.#offer(name);
      this.#act(name, label);
    };
    const keep = button("Keep", () => this.#offer(name));
    const danger = button(label, yes, { class: "fn-button fn-danger" });
    this.element.replaceChildren(html("span", { role: "alert" }, question), danger, keep);
    keep.focus();
  }
}
