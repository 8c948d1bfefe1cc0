// What differs between a copy and its keeper: the server lays the one over the other, as for a report that is a file. The
// tile of the copy shows it while the mouse is over it, or once its button or X is pressed.

import { el } from "./elements.js";
import { show } from "./keys.js";
import { announce } from "./notices.js";
import { difference } from "./server.js";

const EXACT = new Set(["same_bytes", "same_pixels"]);
const REST_MS = 120; // a mouse that only passes asks for nothing

/** Let a copy's tile show what differs; return the button for it, null where nothing does. */
export function differsButton(tile, collection, keeper, member) {
  if (EXACT.has(member.kind)) return null;
  const face = tile.querySelector(".face");
  const load = () => loaded(face, difference(collection, member.id, keeper.id));
  let timer;
  face.addEventListener("pointerenter", (event) => {
    if (event.pointerType === "mouse") timer = setTimeout(load, REST_MS);
  });
  face.addEventListener("pointerleave", () => clearTimeout(timer));
  const name = "What differs";
  const attributes = { type: "button", class: "button quiet", title: name, "aria-label": name, "aria-pressed": "false" };
  const button = el("button", { ...attributes, "data-compare": true }, "≠");
  button.addEventListener("click", (event) => {
    event.stopPropagation(); // the grid takes a click for a closer look
    const shown = tile.classList.toggle("compared");
    button.setAttribute("aria-pressed", String(shown));
    if (shown) load();
  });
  return button;
}

function loaded(face, path) {
  if (face.querySelector(".differs")) return;
  const img = el("img", { class: "differs", alt: "", draggable: "false" });
  img.addEventListener("load", () => img.classList.add("loaded"), { once: true });
  const failed = () => {
    img.remove(); // the next time it is asked for again
    announce("What differs cannot be shown: a file is gone, or the server is busy");
  };
  img.addEventListener("error", failed, { once: true });
  face.append(img);
  show(img, path);
}
