// What stands where there is nothing to show yet: each says what to do next.

import { command, el, icon } from "./elements.js";

/** Return a panel in the middle of a view. children: paragraphs, commands, buttons. */
export function panel(title, ...children) {
  return el(
    "section",
    { class: "teach" },
    el("span", { class: "teach-mark" }, icon("picture")),
    el("h1", { tabindex: "-1" }, title),
    ...children,
  );
}

/** Return what an empty store shows. */
export function emptyStore() {
  return panel(
    "Nothing is indexed yet",
    el(
      "p",
      {},
      "Tell Lookalike where your pictures are. They stay where they are; only what they look like is stored.",
    ),
    command("lookalike index ~/Pictures"),
    soon(),
  );
}

/** Return what an empty collection shows. */
export function emptyCollection(collection) {
  const option = collection.name === "default" ? "" : ` --collection ${quoted(collection.name)}`;
  const failed = el("p", {}, "Files were found, but none could be indexed. This says why:");
  return panel(
    `No image in ${collection.name} yet`,
    collection.failed ? failed : el("p", {}, "Fill it from a folder; pictures stay where they are."),
    command(collection.failed ? `lookalike${option} failures` : `lookalike${option} index ~/Pictures`),
    soon(),
  );
}

function soon() {
  const option = el("code", {}, "--store");
  return el("p", { class: "quiet" }, "If the server was started with ", option, ", give the command the same. This page shows pictures as soon as they are indexed.");
}

// What the views of the bar show, for who came to none of them.
const VIEWS = {
  search: ["Search", "finds copies of a picture, and what looks like it"],
  browse: ["Browse", "shows all images, narrowed as you like"],
  map: ["Map", "lays images that look alike near each other"],
  duplicates: ["Duplicates", "shows copies of one another, and clears them away"],
  status: ["Status", "says whether all is found, with jobs and failures"],
};

/** Return what an address shows that leads to no view. addressOf: gives the address of a view by its name. */
export function nowhere(asked, addressOf) {
  const ways = Object.entries(VIEWS).map(([name, [title, words]]) =>
    el("li", {}, el("a", { href: addressOf(name) }, title), ` ${words}`),
  );
  return panel(
    "There is no such view",
    el("p", {}, `This page has no view named ${asked}. It has these:`),
    el("ul", { class: "ways" }, ...ways),
    el("a", { class: "button", href: addressOf("search") }, "Back to the start"),
  );
}

/** Quote a word for a shell, where it needs it. */
function quoted(word) {
  return /^[\w.][\w.-]*$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** Return {element, update}: what shows while the server loads. anyway: called when the user will not wait. */
export function waiting(anyway) {
  const title = el("h1", { tabindex: "-1" }, "Getting ready");
  const why = el("p", { class: "reason", role: "status" });
  const meanwhile = "Searching begins by itself as soon as the server is ready. Browsing and duplicates work already.";
  const impatient = el("button", { type: "button", class: "button", onclick: anyway, hidden: true }, "Search anyway");
  const mark = el("span", { class: "spinner", "aria-hidden": "true" });
  const element = el(
    "section",
    { class: "teach" },
    mark,
    title,
    why,
    el("p", { class: "quiet" }, meanwhile),
    impatient,
  );
  const update = (reason, late) => {
    if (why.textContent !== reason) why.textContent = reason;
    if (late) title.textContent = "Still not ready";
    impatient.hidden = !late;
  };
  return { element, update };
}

/** Return what shows where an answer should be, after an error. */
export function failed(title, again, error) {
  const reason = el("p", { class: "quiet" }, error.message);
  return panel(title, reason, el("button", { type: "button", class: "button", onclick: again }, "Try again"));
}
