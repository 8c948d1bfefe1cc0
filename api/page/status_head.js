// The head that status, jobs and failures share: three views of how the collection is doing, each with its address.

import { address } from "./addresses.js";
import { el } from "./elements.js";
import { number } from "./words.js";

const VIEWS = { status: "Overview", jobs: "Jobs", failures: "Failures" };

/** Return the heading and the links between the three. */
export function statusHead(view, current, title) {
  const { collection } = view;
  const links = Object.entries(VIEWS).map(([name, words]) =>
    el(
      "a",
      { href: address(name, collection.name), "aria-current": name === current ? "page" : null },
      words,
      name === "failures" && collection.failed ? el("span", { class: "count" }, number(collection.failed)) : null,
    ),
  );
  return [
    el("header", { class: "result-head" }, el("h1", { tabindex: "-1" }, title)),
    el("nav", { class: "tabs", "aria-label": "Status" }, ...links),
  ];
}
