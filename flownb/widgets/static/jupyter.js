// What the view and the notebook around it do to each other.

const MOST_STEPS_UP = 8; // from the view to the outputs of its cell
const MOST_BETWEEN = 3; // outputs between picture and view: what was printed meanwhile

// Jupyter's keys are bare letters: `d d` on a button here would delete the cell. Ctrl+S and the like stay
// Jupyter's. Returns what ends it.
export function keepKeys(root) {
  const keep = ({ target, ctrlKey, metaKey, altKey }) => {
    if (!root.contains(target)) return;
    target.toggleAttribute("data-lm-suppress-shortcuts", !(ctrlKey || metaKey || altKey));
  };
  window.addEventListener("keydown", keep, true);
  return () => window.removeEventListener("keydown", keep, true);
}

// The picture that stays in the notebook is the last before this output: hidden while the live view is there.
// Returns what shows it again.
export function hidePicture(el) {
  let hidden = null;
  requestAnimationFrame(() => {
    hidden = pictureBefore(el);
    if (hidden) hidden.style.display = "none";
  });
  return () => {
    if (hidden) hidden.style.display = "";
  };
}

function pictureBefore(el) {
  for (let step = el, n = 0; step && n < MOST_STEPS_UP; step = step.parentElement, n++) {
    const picture = nearestPicture(step);
    if (picture) return picture;
  }
  return null;
}

function nearestPicture(element) {
  let before = element.previousElementSibling;
  for (let n = 0; before && n <= MOST_BETWEEN; before = before.previousElementSibling, n++) {
    if (before.querySelector(".fn-flow:not(.fn-live)")) return before;
  }
  return null;
}
