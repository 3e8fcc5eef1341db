// Numbers, durations and moments as a person reads them.

const UNITS = [
  ["d", 86400],
  ["h", 3600],
  ["min", 60],
  ["s", 1],
];

export const number = (count) => count.toLocaleString("en");

export const counted = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;

// How many there are so far, of all that will be.
export const partWords = (part, whole) =>
  part < whole ? `${number(part)} of ${number(whole)}` : number(part);

export function duration(ms) {
  if (ms === null || ms === undefined) return "";
  if (ms < 1000) return ms < 1 ? "< 1 ms" : `${Math.round(ms)} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(1).replace(/\.0$/, "")} s`;
  return twoUnits(ms);
}

function twoUnits(ms) {
  let left = Math.round(ms / 1000);
  const parts = [];
  for (const [unit, size] of UNITS) {
    const count = Math.floor(left / size);
    left -= count * size;
    if (count || parts.length) parts.push(count ? `${count} ${unit}` : "");
  }
  return parts.slice(0, 2).filter(Boolean).join(" ");
}

export const wholeSeconds = (ms) => duration(Math.max(Math.floor(ms / 1000), 1) * 1000);

// Since when nothing has ended, where another one should have ended long since.
export const stillWords = ({ stopped }, now) =>
  stopped ? `nothing has ended for ${wholeSeconds(now - stopped)}` : "";

// A state as people read it, where `badges` are the view's.
export const stateWord = (badges, state) => badges[state]?.word ?? state;

// In a batch what waits for children waits for rows.
export const wordInBatch = (badges, state) =>
  state === "waiting-children" ? "waiting for rows" : stateWord(badges, state);

export const clock = (ms) => (ms ? new Date(ms).toLocaleTimeString() : "");
