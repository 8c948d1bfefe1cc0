// The bar above all views: ways to them, the collection, its counts; and at the foot where the weights are from.

import { address } from "./addresses.js";
import { el } from "./elements.js";
import { hasKey } from "./keys.js";
import { collectionOf, home, known } from "./known.js";
import { count, licence, number } from "./words.js";

const PART_OF = { plans: "duplicates", jobs: "status", failures: "status" }; // which view leads to it

/** Show in the bar where one is, and how the collection is doing. */
export function drawBar(where) {
  const { view } = where;
  const collection = collectionOf(where);
  for (const link of document.querySelectorAll("[data-view]")) {
    const here = link.dataset.view === (PART_OF[view] ?? view);
    link.ariaCurrent = here ? "page" : null;
    if (collection) link.href = viewAddress(link.dataset.view, collection.name);
  }
  document.getElementById("bar-choose").hidden = view === "search" || !collection;
  const options = known.collections.map(({ name }) =>
    el("option", { value: name, selected: name === collection?.name }, name),
  );
  document.getElementById("collection").replaceChildren(...options);
  document.getElementById("choice").hidden = known.collections.length < 2;
  document.getElementById("counts").replaceChildren(...(collection ? counts(collection) : []));
  document.getElementById("forget").hidden = !hasKey();
  document.getElementById("about").textContent = collection ? licence(collection) : "\u00a0";
}

/** Return the address of a view of a collection, as the bar leads to it. */
export function viewAddress(view, collection) {
  if (view === "nowhere") return viewAddress("search", collection);
  return view === "search" && collection === home() ? "#/" : address(view, collection);
}

function counts({ name, images, searchable, failed: notIndexed }) {
  const words = `${number(notIndexed)} failed`;
  const shown = notIndexed ? el("a", { href: address("failures", name), title: "Which files, and why" }, words) : words;
  const lost = el("li", { class: notIndexed ? "lost" : "" }, shown);
  return [el("li", {}, count(images, "image")), el("li", {}, `${number(searchable)} searchable`), lost];
}
