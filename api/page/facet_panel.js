// What a collection can be narrowed by: labels, folders, sizes, months, each value a button that adds its condition.

import { monthName, named, pixelsNamed } from "./conditions.js";
import { el, icon } from "./elements.js";
import { number, shortLabel } from "./words.js";

const SHOWN = 8;
const GROUPS = [
  ["labels", "Label", (value) => shortLabel({ label: value })],
  ["folders", "Folder", (value) => value],
  ["sizes", "Longer side", pixelsNamed],
  ["months", "Taken", monthName],
];
const MOST_MONTHS = 12; // more are better chosen on the timeline

/** Facets beside the images. toggled: called with a condition that is to be added or, if it is chosen, taken away. */
export class FacetPanel {
  constructor(toggled) {
    this.toggled = toggled;
    this.open = new Set();
    this.body = el("div", { class: "facet-body" }, ...[6, 4, 3].map(blankGroup));
    this.element = el(
      "details",
      { class: "facets", open: true },
      el("summary", {}, el("h2", {}, "Narrow down")),
      this.body,
    );
    // Beside the images there is room; above them, on small screens, they come first.
    if (matchMedia("(max-width: 960px)").matches) this.element.open = false;
  }

  /** Show counts; only: the conditions that are chosen. */
  show(facets, only) {
    this.last = [facets, only];
    const focused = document.activeElement?.dataset?.where;
    const groups = GROUPS.map(([name, title, words]) => this.group(name, title, words, facets[name], only));
    const shown = groups.filter((group) => group !== null);
    const nothing = el("p", { class: "quiet" }, "There is nothing to choose between.");
    this.body.replaceChildren(...(shown.length ? shown : [nothing]));
    if (focused) [...this.body.querySelectorAll("[data-where]")].find((one) => one.dataset.where === focused)?.focus();
  }

  /** Show that there is nothing to choose from until the condition is one. */
  wait() {
    this.body.replaceChildren(el("p", { class: "quiet" }, "These come back once the condition is understood."));
  }

  group(name, title, words, values, only) {
    if (name === "months" && values.length > MOST_MONTHS) return null;
    const chosen = values.filter((value) => only.includes(value.where));
    if (values.length < 2 && !chosen.length) return null;
    const all = this.open.has(name);
    const shown = all ? values : values.slice(0, SHOWN);
    const most = Math.max(...values.map((value) => value.images));
    const list = el("ul", {}, ...shown.map((value) => this.value(value, words(value.value), most, only)));
    return el("section", { class: "facet-group" }, el("h3", {}, title), list, this.more(name, values, all));
  }

  value({ value, images, where }, words, most, only) {
    const chosen = only.includes(where);
    const bar = el("span", { class: "facet-bar", "aria-hidden": "true" });
    bar.style.setProperty("--share", String(images / most));
    return el(
      "li",
      {},
      el(
        "button",
        {
          type: "button",
          class: "facet-value",
          "aria-pressed": String(chosen),
          "data-where": where,
          title: value,
          onclick: () => this.toggled(where),
        },
        bar,
        el("span", { class: "facet-name" }, el("bdi", {}, words)),
        el("span", { class: "facet-count" }, number(images)),
      ),
    );
  }

  more(name, values, all) {
    if (values.length <= SHOWN) return null;
    const text = all ? "Show fewer" : `Show all ${number(values.length)}`;
    const button = el("button", { type: "button", class: "button quiet small" }, text);
    button.addEventListener("click", () => {
      if (all) this.open.delete(name);
      else this.open.add(name);
      this.again();
    });
    return button;
  }

  /** Show what is known once more. */
  again() {
    this.show(...this.last);
  }
}

/** Return what is chosen as buttons that take it away again. */
export function chips(only, taken) {
  if (!only.length) return null;
  const one = (where) =>
    el(
      "button",
      { type: "button", class: "chip", "aria-label": `Take away: ${named(where)}`, onclick: () => taken(where) },
      el("bdi", {}, named(where)),
      icon("close"),
    );
  const all = only.length > 1 ? [el("button", { type: "button", class: "button quiet small", onclick: () => taken(null) }, "Clear all")] : [];
  return el("div", { class: "chips", role: "group", "aria-label": "Chosen" }, ...only.map(one), ...all);
}

function blankGroup(amount) {
  const rows = Array.from({ length: amount }, () => el("li", { class: "blank-line" }));
  return el("section", { class: "facet-group", "aria-hidden": "true" }, el("h3", { class: "blank-line" }), el("ul", {}, ...rows));
}
