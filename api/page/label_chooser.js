// The facet of labels: a list of those the collection has, most frequent first, of which one can be chosen.

import { el } from "./elements.js";
import { labels } from "./server.js";
import { number } from "./words.js";

const SHOWN = 200;
const ANY = "Any label";

/** Return the chooser. chosen: a label or null; changed: called with a label, or null for any. */
export function labelChooser(view, chosen, changed) {
  const list = el("select", { id: "label" }, el("option", { value: "" }, ANY));
  if (chosen !== null) list.append(el("option", { value: chosen, selected: true }, chosen));
  list.addEventListener("change", () => changed(list.value || null));
  fill(list, view).catch(view.fail);
  return el("div", { class: "facet" }, el("label", { class: "unseen", for: "label" }, "Label of the results"), list);
}

/** Its width is fixed, so that nothing moves when the labels arrive. */
async function fill(list, view) {
  const { items } = await labels(view.collection.name, { limit: SHOWN, signal: view.signal });
  const chosen = list.value;
  const options = items.map(({ label, images }) => el("option", { value: label }, `${label} (${number(images)})`));
  const known = chosen === "" || items.some(({ label }) => label === chosen);
  list.replaceChildren(
    el("option", { value: "" }, ANY),
    ...options,
    ...(known ? [] : [el("option", { value: chosen }, chosen)]),
  );
  list.value = chosen;
}
