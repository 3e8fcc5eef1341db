// Tells the kernel that this page has the view, and whether anybody can see it.

const SEND_EVERY = 5000; // ms

export class Presence {
  inSight = true;
  #kernel;
  #lost;
  #observer;
  #timer;

  // `lost` is called when the kernel cannot be told any more.
  constructor(kernel, root, { lost }) {
    this.#kernel = kernel;
    this.#lost = lost;
    this.#observer = new IntersectionObserver(([entry]) => {
      this.inSight = entry.isIntersecting;
      this.send();
    });
    this.#observer.observe(root);
    document.addEventListener("visibilitychange", this.send);
    this.#timer = setInterval(this.send, SEND_EVERY);
  }

  send = () => {
    const seen = this.inSight && document.visibilityState === "visible";
    if (!this.#kernel.send({ ask: "alive", on_screen: seen })) this.#lost();
  };

  close() {
    clearInterval(this.#timer);
    document.removeEventListener("visibilitychange", this.send);
    this.#observer.disconnect();
  }
}
