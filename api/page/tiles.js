// Grids of pictures: a tile per image, placeholders while they load, arrow keys to move around.

import { address } from "./addresses.js";
import { el, icon } from "./elements.js";
import { show } from "./keys.js";
import { thumbnail } from "./server.js";
import { folder, name, place, share, shortLabel } from "./words.js";

const FACE = ".face";
const THUMBNAIL = 320;

/**
 * Return a grid. look: called with an image's id when a closer look is asked for (Space, or the tile's button).
 */
export function grid({ label, look, className = "" }) {
  const list = el("ul", { class: `grid ${className}`, role: "list", "aria-label": label });
  list.addEventListener("keydown", (event) => {
    const here = event.target.closest(".tile");
    if (!here || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " && event.target.matches(FACE)) look(here.dataset.id);
    else if (!move(list, here, event.key)) return;
    event.preventDefault();
  });
  list.addEventListener("click", (event) => {
    const here = event.target.closest(".tile:not(.blank)");
    if (event.target.closest("button")) look(here.dataset.id);
    else if (here && !event.target.closest("a") && getSelection().isCollapsed) here.querySelector(FACE).click();
  });
  return list;
}

/** Return a tile whose picture leads to a search by that image. facts: what stands above the name. */
export function searchTile(collection, image, ...facts) {
  const href = address("search", collection, image.id);
  const face = el("a", { class: "face", href, draggable: "false", "aria-label": `Search from ${name(image)}` });
  face.append(picture(collection, image));
  const look = el(
    "button",
    { type: "button", class: "look", "aria-label": `Look closer at ${name(image)}` },
    icon("enlarge"),
  );
  return tile(
    image,
    face,
    el(
      "div",
      { class: "caption" },
      el("p", { class: "facts" }, ...facts),
      nameLine(image),
      facts.length ? folderLine(image) : "",
      facts.length && image.labels ? labelLine(image) : "",
      look,
    ),
  );
}

/** Return a tile whose picture opens the closer look. lines: what stands below it. */
export function lookTile(collection, image, ...lines) {
  const face = el("button", { type: "button", class: "face", "aria-label": `Look closer at ${name(image)}` });
  face.append(picture(collection, image));
  return tile(image, face, el("div", { class: "caption" }, ...lines));
}

/** Return the tile of an image that is not there to look at. where: it is now, in words; facts: what stands above the name. */
export function goneTile(image, where, ...facts) {
  const face = el("span", { class: "face", tabindex: "0", role: "img", "aria-label": `${name(image)}: ${where}` }, noPicture(where));
  return tile(image, face, el("div", { class: "caption" }, el("p", { class: "facts" }, ...facts), nameLine(image), folderLine(image)));
}

/** Return the name of an image as a line of its own, its whole place on hovering. */
export function nameLine(image) {
  return el("p", { class: "name", title: place(image) }, el("bdi", {}, name(image)));
}

/** Return the folder of an image as a line of its own, its whole place on hovering. */
export function folderLine(image) {
  return el("span", { class: "folder", title: place(image) }, "in ", el("bdi", {}, folder(image)));
}

/** Return what a classifier sees in an image as a line of its own, all its labels on hovering. */
export function labelLine(image) {
  const all = image.labels.map((one) => `${one.label} ${share(one.probability)}`).join("\n");
  return el("span", { class: "label", title: all }, shortLabel(image.labels[0]));
}

/** Return tiles without a picture, as large as those to come. */
export function placeholders(amount) {
  const blank = () =>
    el(
      "li",
      { class: "tile blank", "aria-hidden": "true" },
      el("span", { class: "face" }),
      el("span", { class: "caption" }),
    );
  return Array.from({ length: amount }, blank);
}

/** Move the focus to a tile of a grid. */
export function focusTile(list, id) {
  const found = [...list.querySelectorAll(FACE)].find((face) => face.parentElement.dataset.id === id);
  found?.focus({ preventScroll: true });
  return Boolean(found);
}

/** Return the small picture of an image; where there is none, say so. */
export function picture(collection, image, size = THUMBNAIL) {
  const shown = el("img", { alt: "", loading: "lazy", decoding: "async", draggable: "false" });
  shown.addEventListener("load", () => shown.classList.add("loaded"), { once: true });
  shown.addEventListener("error", () => shown.replaceWith(noPicture("The file cannot be shown")), { once: true });
  show(shown, thumbnail(collection, image.id, size));
  return shown;
}

/** Return what stands in for a picture that cannot be shown. */
export function noPicture(text) {
  return el("span", { class: "no-picture" }, icon("picture"), el("span", {}, text));
}

function tile(image, ...children) {
  return el("li", { class: "tile", "data-id": image.id }, ...children);
}

/** Move the focus by an arrow key, Home or End; tell whether there was a tile to move to. */
function move(list, from, key) {
  const tiles = [...list.querySelectorAll(".tile:not(.blank)")];
  const here = tiles.indexOf(from);
  const row = columns(tiles);
  const steps = {
    ArrowLeft: -1,
    ArrowRight: 1,
    ArrowUp: -row,
    ArrowDown: row,
    Home: -here,
    End: tiles.length - 1 - here,
  };
  if (!(key in steps)) return false;
  const there = tiles[here + steps[key]];
  there?.querySelector(FACE).focus();
  return Boolean(there);
}

/** How many tiles stand in the first row. */
function columns(tiles) {
  const second = tiles.findIndex((tile) => tile.offsetTop > tiles[0].offsetTop);
  return second < 0 ? tiles.length : second;
}
