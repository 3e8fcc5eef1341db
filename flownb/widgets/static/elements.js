// Makes elements and changes their words. Data goes in as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

// An attribute whose value is a function listens to the event of its name.
function put(element, attributes, inside) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...inside.filter((part) => part !== null));
  return element;
}

export const svg = (tag, attributes = {}, ...inside) =>
  put(document.createElementNS(SVG, tag), attributes, inside);

export const html = (tag, attributes = {}, ...inside) => put(document.createElement(tag), attributes, inside);

export const button = (label, click, more = {}) =>
  html("button", { type: "button", class: "fn-button", click, ...more }, label);

export const link = (label, click) =>
  html("button", { type: "button", class: "fn-link", click }, ...(label ? [label] : []));

// Words that stay the same are left alone: a screen reader would read them again.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// What is in its place is not touched: the focus stays.
export function place(element, wanted) {
  const now = [...element.children];
  if (now.length === wanted.length && now.every((child, n) => child === wanted[n])) return;
  element.replaceChildren(...wanted);
}
