// The closer look: one image in a dialog, with its neighbours of the same list one arrow key away. It has an address, so
// that Back closes it.

import { address, lookOf, withLook, withoutLook } from "./addresses.js";
import { comparison } from "./comparison.js";
import { copyButton, el, icon } from "./elements.js";
import { ask, show } from "./keys.js";
import { noPicture } from "./tiles.js";
import { explanation, imageById, thumbnail } from "./server.js";
import { edit, name, number, part, pixels, place, score, share, size, visible } from "./words.js";

const LARGE = 1600;
const dialog = document.getElementById("large");
let last = { collection: null, images: [] }; // what was shown, for Forward and Back

/**
 * Show an image; images: the list it is from, which may grow meanwhile. query: what was searched by, {file} or {id}, with
 * the box that was drawn; null where no picture is at hand.
 */
export function lookCloser(collection, images, id, query) {
  if (!images.some((image) => image.id === id)) return;
  history.pushState({ ...history.state, looking: true }, "", withLook(location.hash, id));
  open({ collection, images, query }, id);
}

/** Show, or close, what the address looks closer at: that of a view that is on screen already. */
export async function lookAsAddressed(collection, signal) {
  const id = lookOf(location.hash);
  if (id === null) return closeLargeView();
  const known = last.collection === collection && last.images.some((image) => image.id === id);
  const shown = known ? last : { collection, images: [await imageById(collection, id, signal)] };
  if (lookOf(location.hash) === id) open(shown, id);
}

function open(shown, id) {
  last = shown;
  const { images } = shown;
  let at = images.findIndex((image) => image.id === id);
  const step = (by) => {
    if (images[at + by] === undefined) return;
    at += by;
    history.replaceState(history.state, "", withLook(location.hash, images[at].id));
    draw(shown, at, step);
  };
  dialog.onkeydown = (event) => {
    if (event.target.matches("input")) return; // the slider takes them
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  };
  if (!dialog.open) dialog.showModal();
  draw(shown, at, step);
}

/** Close the closer look, if it is open. */
export function closeLargeView() {
  if (dialog.open) dialog.close();
}

dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});

// However somebody closed it: by its button, beside it, by Escape.
dialog.addEventListener("close", () => {
  if (dialog.open || lookOf(location.hash) === null) return;
  if (history.state?.looking) history.back();
  else history.replaceState(history.state, "", withoutLook(location.hash));
});

function draw(shown, at, step) {
  const focused = document.activeElement?.dataset.role;
  const image = shown.images[at];
  dialog.replaceChildren(stage(shown.collection, image), panel(shown, at, step));
  const again = focused && dialog.querySelector(`[data-role="${focused}"]:not(:disabled)`);
  (again || dialog.querySelector('[data-role="close"]')).focus();
}

/** The picture, first as the small one that is at hand, so that nothing waits and nothing jumps. */
function stage(collection, image) {
  const empty = () =>
    el("img", { width: image.width, height: image.height, alt: name(image), draggable: "false" });
  const shown = empty();
  const sharp = empty();
  shown.addEventListener("error", () => shown.replaceWith(noPicture("The file cannot be shown")), { once: true });
  sharp.addEventListener("load", () => shown.replaceWith(sharp), { once: true });
  show(shown, thumbnail(collection, image.id, 320));
  show(sharp, thumbnail(collection, image.id, LARGE));
  return el("div", { class: "stage" }, shown);
}

function panel({ collection, images, query }, at, step) {
  const image = images[at];
  return el(
    "div",
    { class: "panel" },
    el("div", { class: "panel-top" }, ...stepping(images, at, step), closeButton()),
    el("h2", { id: "large-name" }, el("bdi", {}, name(image))),
    el("p", { class: "path" }, el("bdi", {}, visible(place(image)))),
    copyButton("Copy path", () => place(image)),
    factList(image),
    editList(collection, image, query),
    labelList(image),
    searchLink(collection, image),
  );
}

function stepping(images, at, step) {
  if (images.length < 2) return [];
  const button = (role, by, label) =>
    el(
      "button",
      {
        type: "button",
        class: "button bare",
        "data-role": role,
        "aria-label": label,
        disabled: images[at + by] === undefined,
        onclick: () => step(by),
      },
      icon(role),
    );
  return [
    button("previous", -1, "Previous image"),
    button("next", 1, "Next image"),
    el("span", { class: "position" }, `${number(at + 1)} of ${number(images.length)}`),
  ];
}

function closeButton() {
  return el(
    "button",
    {
      type: "button",
      class: "button bare close",
      "data-role": "close",
      "aria-label": "Close",
      onclick: () => dialog.close(),
    },
    icon("close"),
  );
}

function factList(image) {
  const facts = {
    Size: `${pixels(image)} pixels`,
    "File size": image.bytes < 1024 ? size(image.bytes) : `${size(image.bytes)} (${number(image.bytes)} bytes)`,
    Format: image.format.toUpperCase(),
    Taken: image.taken_at === undefined ? null : image.taken_at.replace("T", " "),
    Id: image.id,
    Key: image.key === image.uri ? null : visible(image.key),
    Score: image.score === undefined ? null : score(image.score),
    "Part that matches": image.region === undefined ? null : part(image.region),
  };
  const rows = Object.entries(facts).filter(([, value]) => value !== null);
  return el("dl", {}, ...rows.flatMap(([term, value]) => [el("dt", {}, term), el("dd", {}, value)]));
}

/** What was done to the image to get the query, and a button that shows why the two are the same picture. */
function editList(collection, image, query) {
  if (image.verified !== "yes") return null;
  const lines = (image.edits ?? []).map((one) => el("li", {}, edit(one)));
  const why = query ? whyButtons(collection, image, query) : null;
  if (!lines.length && !why) return null;
  const title = lines.length ? "What was done to it" : "The same picture";
  return el("section", { class: "edits" }, el("h3", {}, title), lines.length ? el("ul", {}, ...lines) : null, why);
}

/** Buttons that show why: the two laid over each other with a slider between, and what fits as a drawing. */
function whyButtons(collection, image, query) {
  const asked = once(() => explanation(collection, query, image.id));
  const over = whyButton("over", "Compare by slider", async () => {
    const { facts, query: file } = await asked();
    if (facts.model === null) throw new Error("Nothing is known of how one lies on the other; the drawing shows what is.");
    const base = { src: await pictureOf(collection, image), width: image.width, height: image.height, name: name(image) };
    return comparison(base, file, query.box, facts.model);
  });
  const drawing = whyButton("why", "Show why", async () => {
    const said = `${name(image)} beside your picture: what both show is outlined, places that agree are joined.`;
    const url = URL.createObjectURL((await asked()).picture);
    const shown = el("img", { class: "why", src: url, alt: said });
    shown.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
    return el("div", { class: "stage" }, shown);
  });
  return el("div", { class: "why-buttons" }, over, drawing);
}

/** A button that puts something else on the stage. show: makes it. */
function whyButton(role, text, show) {
  const words = el("span", {}, text);
  const button = el("button", { type: "button", class: "button", "data-role": role }, words);
  button.addEventListener("click", async () => {
    button.disabled = true;
    words.textContent = "Looking…";
    try {
      dialog.querySelector(".stage").replaceWith(await show());
    } catch (error) {
      button.parentElement?.append(el("p", { class: "quiet", role: "alert" }, error.message));
    }
    words.textContent = text;
    button.disabled = false;
  });
  return button;
}

/** Return a function that does something when it is first called, and then returns the same. */
function once(make) {
  let made;
  return () => (made ??= make());
}

async function pictureOf(collection, image) {
  const answer = await ask(thumbnail(collection, image.id, LARGE));
  if (!answer.ok) throw new Error("The file cannot be shown.");
  return URL.createObjectURL(await answer.blob());
}

function labelList(image) {
  if (!image.labels) return null;
  const rows = image.labels.flatMap((one) => [el("dt", {}, one.label), el("dd", {}, share(one.probability))]);
  return el("section", { class: "labels" }, el("h3", {}, "Labels"), el("dl", {}, ...rows));
}

function searchLink(collection, image) {
  const href = address("search", collection, image.id);
  return el("a", { class: "button main", "data-role": "search", href }, icon("search"), "Search from this image");
}
