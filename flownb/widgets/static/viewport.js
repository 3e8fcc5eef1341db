// Which part of the tree is in sight: zoom, pan, scrolling to a box. The wheel alone scrolls; keys: tree.js.

const LEAST_FIT = 1; // of a tree that nobody has made smaller: words are never below 11 pixels
const NAMES_FROM = 0.85; // names have 13 pixels, notes 11: what would be smaller than 11 is left out
const LEAST_HEIGHT = 64;
const LEAST_ZOOM = 0.1;
const MOST_ZOOM = 3;
const CLICK_PIXELS = 4; // a pointer that moves less has clicked
const clamped = (value, least, most) => Math.min(Math.max(value, least), most);

export class Viewport {
  dragged = false; // since the pointer went down: then its release is no click
  #canvas;
  #world;
  #frame; // () => the frame of the tree
  #most; // () => pixels of height
  #scale = 1;
  #x = 0;
  #y = 0;
  #moved = false; // by a person: then it stays as it is when the page changes its size
  #held = null; // where the pointer holds the tree

  constructor(canvas, world, frame, most) {
    this.#canvas = canvas;
    this.#world = world;
    this.#frame = frame;
    this.#most = most;
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.#hold(event));
    window.addEventListener("pointermove", this.#drag);
    window.addEventListener("pointerup", this.#drop);
  }

  close() {
    window.removeEventListener("pointermove", this.#drag);
    window.removeEventListener("pointerup", this.#drop);
  }

  // As large as can be read, the canvas as high as the tree needs. Moved by a person, it stays.
  fit() {
    const { width, height, nodes } = this.#frame();
    if (!width) return;
    const [wide] = this.#size();
    const most = this.#most();
    const scale = Math.max(LEAST_FIT, Math.min(1, wide / width, most / height));
    this.#canvas.style.height = `${clamped(height * scale, LEAST_HEIGHT, most)}px`;
    if (this.#moved) return;
    this.#scale = scale;
    this.#x = (wide - width * this.#scale) / 2;
    this.#y = 0;
    // The root is in sight.
    const [rootX, rootY] = nodes.length ? this.#middle(nodes[0].rect) : [width / 2, 0];
    if (width * this.#scale > wide) this.#x = Math.min(0, wide / 2 - rootX * this.#scale);
    if (height * this.#scale > most) this.#y = Math.min(0, most / 2 - rootY * this.#scale);
    this.#show();
  }

  fitAll() {
    const { width, height } = this.#frame();
    if (!width) return;
    const [wide, high] = this.#size();
    this.#scale = Math.min(1, wide / width, high / height);
    this.#moveTo((wide - width * this.#scale) / 2, (high - height * this.#scale) / 2);
  }

  zoom(by, at) {
    const [wide, high] = this.#size();
    const [x, y] = at || [wide / 2, high / 2];
    const before = this.#scale;
    this.#scale = clamped(before * by, LEAST_ZOOM, MOST_ZOOM);
    this.#moveTo(x - ((x - this.#x) * this.#scale) / before, y - ((y - this.#y) * this.#scale) / before);
  }

  reveal(rect) {
    const [wide, high] = this.#size();
    const [middleX, middleY] = this.#middle(rect);
    const x = this.#x + middleX * this.#scale;
    const y = this.#y + middleY * this.#scale;
    if (x > 40 && x < wide - 40 && y > 20 && y < high - 20) return;
    this.#moveTo(this.#x + wide / 2 - x, this.#y + high / 2 - y);
  }

  #middle([x, y, width, height]) {
    const [shiftX, shiftY] = this.#frame().shift;
    return [x + shiftX + width / 2, y + shiftY + height / 2];
  }

  #size() {
    return [this.#canvas.clientWidth || 600, this.#canvas.clientHeight || 200];
  }

  #moveTo(x, y) {
    this.#x = x;
    this.#y = y;
    this.#moved = true;
    this.#show();
  }

  #show() {
    this.#world.setAttribute("transform", `translate(${this.#x} ${this.#y}) scale(${this.#scale})`);
    this.#world.classList.toggle("fn-far", this.#scale < LEAST_FIT);
    this.#world.classList.toggle("fn-farther", this.#scale < NAMES_FROM);
  }

  #wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const { left, top } = this.#canvas.getBoundingClientRect();
    this.zoom(event.deltaY < 0 ? 1.15 : 0.87, [event.clientX - left, event.clientY - top]);
  }

  #hold(event) {
    this.#held = [event.clientX - this.#x, event.clientY - this.#y];
    this.dragged = false;
  }

  #drag = (event) => {
    if (!this.#held) return;
    const [x, y] = [event.clientX - this.#held[0], event.clientY - this.#held[1]];
    if (Math.abs(x - this.#x) + Math.abs(y - this.#y) < CLICK_PIXELS && !this.dragged) return;
    this.dragged = true;
    this.#moveTo(x, y);
  };

  #drop = () => {
    this.#held = null;
  };
}
