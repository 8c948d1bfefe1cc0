// Which copies of a report are shown: all, or those of one kind, as in a report that is a file. The server filters, so
// that it holds for groups that are not loaded yet.

import { el } from "./elements.js";
import { KINDS, number } from "./words.js";

/** Return {element, show}. chosen: called with a kind, or null for all; show: with the kinds of a report and the one shown. */
export function kindFilter(chosen) {
  const element = el("div", { class: "chips kinds", role: "group", "aria-label": "Show copies of one kind" });
  let drawn = "";
  const show = (kinds, kind) => {
    const now = JSON.stringify(kinds);
    if (now !== drawn) element.replaceChildren(...chips(kinds, chosen)); // else a chip keeps the focus
    drawn = now;
    for (const chip of element.children) chip.setAttribute("aria-pressed", String(chip.dataset.kind === (kind ?? "")));
  };
  return { element, show };
}

function chips(kinds, chosen) {
  const found = Object.keys(KINDS).filter((kind) => kinds?.[kind]);
  if (!found.length) return [];
  const all = found.reduce((sum, kind) => sum + kinds[kind], 0);
  const chip = (kind, name, copies) =>
    el(
      "button",
      { type: "button", class: "button quiet", "data-kind": kind, onclick: () => chosen(kind || null) },
      name,
      el("b", {}, number(copies)),
    );
  return [chip("", "all", all), ...found.map((kind) => chip(kind, KINDS[kind], kinds[kind]))];
}
