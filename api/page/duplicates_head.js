// The head that the two views of duplicates share: the groups, and the plans that act on them.

import { address } from "./addresses.js";
import { el } from "./elements.js";

const VIEWS = { duplicates: "Review", plans: "Plans" };

/** Return the heading and the links between the two. current: the one on screen; inside: a part of it is. */
export function duplicatesHead(collection, current, title, inside = false) {
  const here = inside ? "true" : "page";
  const links = Object.entries(VIEWS).map(([name, words]) =>
    el("a", { href: address(name, collection), "aria-current": name === current ? here : null }, words),
  );
  return [
    el("header", { class: "result-head" }, title),
    el("nav", { class: "tabs", "aria-label": "Duplicates" }, ...links),
  ];
}

/** Return a heading. */
export function heading(text) {
  return el("h1", { tabindex: "-1" }, text);
}
