// Whether the view is dark: notebooks say it by marks, which the style knows; else it is as what is behind.

const MARKED_PAGE = "body[data-jp-theme-light], body[class*='vscode-'], html[theme]";
const MARKED_HOST = ".googleusercontent.com"; // of outputs in Colab, which only says that it is dark
const DARK_BELOW = 0.4; // of light, from 0 to 1
const NO_COLOUR = "rgba(0, 0, 0, 0)"; // what elements have that nobody gave a background
const coloursRead = new Map(); // colours as pages write them -> [red, green, blue, alpha]

// The colour behind an element, as [red, green, blue]; null where nothing up to the page has one.
function colourBehind(element) {
  const above = element.parentElement ?? element.getRootNode().host;
  if (!above) return null;
  const colour = getComputedStyle(above).backgroundColor;
  const [red, green, blue, alpha] = colour === NO_COLOUR ? [0, 0, 0, 0] : rgba(colour);
  return alpha > 127 ? [red, green, blue] : colourBehind(above);
}

function rgba(colour) {
  if (!coloursRead.has(colour)) {
    const canvas = document.createElement("canvas").getContext("2d");
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    coloursRead.set(colour, canvas.getImageData(0, 0, 1, 1).data);
  }
  return coloursRead.get(colour);
}

const isDark = ([red, green, blue]) => (0.3 * red + 0.59 * green + 0.11 * blue) / 255 < DARK_BELOW;

// Where no page says anything the system does; then the view has a background of its own.
export function followPage(root) {
  const isMarked = document.querySelector(MARKED_PAGE) || location.hostname.endsWith(MARKED_HOST);
  const behind = isMarked ? null : colourBehind(root);
  const likesDark = !isMarked && matchMedia("(prefers-color-scheme: dark)").matches;
  const dark = behind ? isDark(behind) : likesDark;
  root.classList.toggle("fn-dark", dark);
  root.classList.toggle("fn-own-page", dark && !behind);
}
