// Tells the kernel that this page has the view, and whether anybody can see it.

const TELL_EVERY = 5000; // ms

export class Presence {
  inSight = true;
  #kernel;
  #observer;
  #timer;

  constructor(kernel, root) {
    this.#kernel = kernel;
    this.#observer = new IntersectionObserver(([entry]) => {
      this.inSight = entry.isIntersecting;
      this.tell();
    });
    this.#observer.observe(root);
    document.addEventListener("visibilitychange", this.tell);
    this.#timer = setInterval(this.tell, TELL_EVERY);
  }

  tell = () => {
    this.#kernel.tell({ ask: "alive", on_screen: this.inSight && document.visibilityState === "visible" });
  };

  close() {
    clearInterval(this.#timer);
    document.removeEventListener("visibilitychange", this.tell);
    this.#observer.disconnect();
  }
}
