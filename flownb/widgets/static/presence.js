// Tells the kernel that this page has the view, and whether anybody can see it.

const SEND_EVERY = 5000; // ms

export class Presence {
  inSight = true;
  #kernel;
  #observer;
  #timer;

  constructor(kernel, root) {
    this.#kernel = kernel;
    this.#observer = new IntersectionObserver(([entry]) => {
      this.inSight = entry.isIntersecting;
      this.send();
    });
    this.#observer.observe(root);
    document.addEventListener("visibilitychange", this.send);
    this.#timer = setInterval(this.send, SEND_EVERY);
  }

  send = () => {
    this.#kernel.send({ ask: "alive", on_screen: this.inSight && document.visibilityState === "visible" });
  };

  close() {
    clearInterval(this.#timer);
    document.removeEventListener("visibilitychange", this.send);
    this.#observer.disconnect();
  }
}
