// Questions to the kernel and its answers, over the messages of the model.

export const ATTACH_AGAIN = "In a new one: fn.attach(name)";

export class Kernel {
  #model;
  #page = Math.random().toString(36).slice(2); // other pages of this model hear the answers, too
  #count = 0;
  #waiting = new Map(); // by the number of the question

  constructor(model) {
    this.#model = model;
    model.on("msg:custom", this.#hear);
  }

  ask(what, more = {}) {
    return new Promise((resolve) => {
      const name = `${this.#page}-${++this.#count}`;
      this.#waiting.set(name, resolve);
      const sent = this.send({ ask: what, number: name, ...more });
      if (!sent) this.#hear({ answer: name, error: `The kernel is gone. ${ATTACH_AGAIN}` });
    });
  }

  send(message) {
    try {
      this.#model.send(message);
      return true;
    } catch {
      return false; // a kernel that has started anew does not know this view
    }
  }

  #hear = (message) => {
    this.#waiting.get(message.answer)?.(message);
    this.#waiting.delete(message.answer);
  };

  close() {
    this.#model.off("msg:custom", this.#hear);
  }
}
