// Where a search starts: a picture dropped, pasted, chosen, taken, named by its address, or one of the collection.

import { el } from "./elements.js";
import { lookCloser } from "./large_view.js";
import { camera, isWeb, zone } from "./pictures.js";
import { images } from "./server.js";
import { grid, placeholders, searchTile } from "./tiles.js";
import { count } from "./words.js";

const SAMPLES = 12;

/** Show the start of a search. */
export async function showStart(view) {
  const searchable = count(view.collection.searchable, "image");
  const look = (id) => lookCloser(view.collection.name, view.memory.samples, id);
  const list = grid({ label: "Images of the collection", look, className: "samples" });
  list.append(...placeholders(Math.min(SAMPLES, view.collection.images)));
  view.main.replaceChildren(
    el(
      "section",
      { class: "start" },
      el("h1", { tabindex: "-1" }, "Have you seen this picture?"),
      el("p", { class: "lead" }, `Find its copies and everything that looks like it, among ${searchable}.`),
      zone(view.search, { title: "Drop pictures anywhere", text: "Choose a picture", hint: hint() }),
      el("div", { class: "other-ways" }, camera("Take a photo", view.search), view.searchAddress && addressForm(view)),
    ),
    el("section", { class: "from-here" }, el("h2", {}, "Or start from one of yours"), list),
  );
  view.memory.samples ??= (await images(view.collection.name, { limit: SAMPLES, signal: view.signal })).items;
  list.replaceChildren(...view.memory.samples.map((image) => searchTile(view.collection.name, image)));
}

function hint() {
  const control = /Mac|iP/.test(navigator.platform) ? "⌘" : "Ctrl";
  return el(
    "span",
    { class: "quiet keys" },
    "or paste it with ",
    el("kbd", {}, control),
    " ",
    el("kbd", {}, "V"),
    " · ",
    el("kbd", {}, "/"),
    " comes back here",
  );
}

function addressForm(view) {
  const field = el("input", {
    type: "url",
    id: "address",
    class: "field",
    placeholder: "https://…",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    "aria-describedby": "address-trouble",
  });
  const trouble = el("span", { class: "trouble", id: "address-trouble", role: "alert" });
  const submit = (event) => {
    event.preventDefault();
    const text = field.value.trim();
    if (isWeb(text)) return view.searchAddress(text);
    trouble.textContent = "An address begins with https:// or http://";
    field.setAttribute("aria-invalid", "true");
  };
  return el(
    "form",
    { class: "address-form", onsubmit: submit, novalidate: true },
    el("label", { for: "address", class: "unseen" }, "Address of a picture on the web"),
    field,
    el("button", { class: "button" }, "Search by address"),
    trouble,
  );
}
