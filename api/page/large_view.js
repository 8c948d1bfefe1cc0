// The closer look: one image in a dialog, with its neighbours of the same list one arrow key away.

import { address } from "./addresses.js";
import { copyButton, el, icon } from "./elements.js";
import { noPicture } from "./tiles.js";
import { thumbnail } from "./server.js";
import { name, number, pixels, place, score, share, size } from "./words.js";

const LARGE = 1600;
const dialog = document.getElementById("large");

/** Show an image; images: the list it is from, which may grow meanwhile. */
export function lookCloser(collection, images, id) {
  let at = images.findIndex((image) => image.id === id);
  if (at < 0) return;
  const step = (by) => {
    if (images[at + by] === undefined) return;
    at += by;
    draw(collection, images, at, step);
  };
  dialog.onkeydown = (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  };
  if (!dialog.open) dialog.showModal();
  draw(collection, images, at, step);
}

/** Close the closer look, if it is open. */
export function closeLargeView() {
  if (dialog.open) dialog.close();
}

dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});

function draw(collection, images, at, step) {
  const focused = document.activeElement?.dataset.role;
  const image = images[at];
  dialog.replaceChildren(stage(collection, image), panel(collection, images, at, step));
  const again = focused && dialog.querySelector(`[data-role="${focused}"]:not(:disabled)`);
  (again || dialog.querySelector('[data-role="close"]')).focus();
}

/** The picture, first as the small one that is at hand, so that nothing waits and nothing jumps. */
function stage(collection, image) {
  const shown = el("img", { width: image.width, height: image.height, alt: name(image), draggable: "false" });
  shown.src = thumbnail(collection, image.id, 320);
  shown.addEventListener("error", () => shown.replaceWith(noPicture("The file cannot be shown")), { once: true });
  const sharp = new Image();
  sharp.addEventListener("load", () => (shown.src = sharp.src), { once: true });
  sharp.src = thumbnail(collection, image.id, LARGE);
  return el("div", { class: "stage" }, shown);
}

function panel(collection, images, at, step) {
  const image = images[at];
  return el(
    "div",
    { class: "panel" },
    el("div", { class: "panel-top" }, ...stepping(images, at, step), closeButton()),
    el("h2", { id: "large-name" }, el("bdi", {}, name(image))),
    el("p", { class: "path" }, el("bdi", {}, place(image))),
    copyButton("Copy path", () => place(image)),
    factList(image),
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
    Score: image.score === undefined ? null : score(image.score),
  };
  const rows = Object.entries(facts).filter(([, value]) => value !== null);
  return el("dl", {}, ...rows.flatMap(([term, value]) => [el("dt", {}, term), el("dd", {}, value)]));
}

function labelList(image) {
  if (!image.labels) return null;
  const rows = image.labels.flatMap((one) => [el("dt", {}, one.label), el("dd", {}, share(one.probability))]);
  return el("section", { class: "labels" }, el("h3", {}, "Labels"), el("dl", {}, ...rows));
}

function searchLink(collection, image) {
  const href = address("search", collection, image.id);
  const link = el("a", { class: "button main", "data-role": "search", href }, icon("search"), "Search from this image");
  link.addEventListener("click", () => dialog.close());
  return link;
}
