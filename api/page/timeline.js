// The timeline: a bar for each month in which images were taken, which narrows the images to that month.

import { monthName } from "./conditions.js";
import { el } from "./elements.js";
import { count } from "./words.js";

/** Return the timeline of months [{value, images, where}], null where there is nothing to choose between. */
export function timeline(months, only, toggled) {
  const chosen = months.some((month) => only.includes(month.where));
  if (months.length < 2 && !chosen) return null;
  const most = Math.max(...months.map((month) => month.images));
  const bars = withGaps(months).map((month, at) => bar(month, { most, only, toggled, first: at === 0 }));
  const list = el("ol", { class: "months", "aria-label": "Months in which images were taken" }, ...bars);
  list.addEventListener("keydown", (event) => step(list, event));
  return el("div", { class: "timeline", role: "group", "aria-label": "Timeline" }, list);
}

/** Months without images between those with some, so that time has the same length everywhere; of long gaps a year. */
function withGaps(months) {
  const shown = [];
  for (const month of months) {
    const before = shown.at(-1);
    if (before) {
      const gap = Math.min(ordinal(month.value) - ordinal(before.value), 13);
      for (let at = 1; at < gap; at += 1) shown.push({ value: name(ordinal(month.value) - gap + at), images: 0 });
    }
    shown.push(month);
  }
  return shown;
}

function ordinal(month) {
  const [year, number] = month.split("-").map(Number);
  return 12 * year + number - 1;
}

function name(at) {
  return `${String(Math.floor(at / 12)).padStart(4, "0")}-${String((at % 12) + 1).padStart(2, "0")}`;
}

function bar({ value, images, where }, { most, only, toggled, first }) {
  const [year, month] = value.split("-");
  const row = el("li", { "data-year": first || month === "01" ? year : null });
  if (!images) return row;
  const words = `${monthName(value)}, ${count(images, "image")}`;
  const button = el("button", {
    type: "button",
    title: words,
    "aria-label": words,
    "aria-pressed": String(only.includes(where)),
    onclick: () => toggled(where),
  });
  button.style.setProperty("--share", String(images / most));
  row.append(button);
  return row;
}

function step(list, event) {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!by) return;
  const buttons = [...list.querySelectorAll("button")];
  buttons[buttons.indexOf(document.activeElement) + by]?.focus();
  event.preventDefault();
}
