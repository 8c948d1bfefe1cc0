// Which copies of a report are shown: all, or those of one kind, or those that nobody has reviewed, as in a report that is
// a file. The server filters by kind, so that it holds for groups that are not loaded yet.

import { el } from "./elements.js";
import { KINDS, number } from "./words.js";

/** Return {element, show}. chosen: called with {kind}, null for all, or {open}; show: with the kinds of a report and {kind, open}. */
export function kindFilter(chosen) {
  const list = el("div", { class: "chips kinds", role: "group", "aria-label": "Show copies of one kind" });
  const open = el("input", { type: "checkbox", onchange: () => chosen({ open: open.checked }) });
  const title = "Copies of which nobody has said what they are; those of the same bytes are not asked about";
  const check = el("label", { class: "check", title, hidden: true }, open, "not reviewed");
  const element = el("div", { class: "kind-filter" }, list, check);
  let drawn = "";
  const show = (kinds, wish) => {
    const now = JSON.stringify(kinds);
    if (now !== drawn) list.replaceChildren(...chips(kinds, (kind) => chosen({ kind }))); // else a chip keeps the focus
    drawn = now;
    open.checked = wish.open;
    check.hidden = !list.children.length;
    for (const chip of list.children) chip.setAttribute("aria-pressed", String(chip.dataset.kind === (wish.kind ?? "")));
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
