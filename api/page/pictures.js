// How a picture gets onto this page: chosen, dropped or pasted. Those of this visit are kept in memory, for Back.

import { el, icon } from "./elements.js";

const KEPT = 20;
const kept = new Map();

/** Keep a picture; return its name as a query. */
export function keep(file) {
  const query = `upload-${Date.now().toString(36)}${kept.size}`;
  kept.set(query, { file, url: URL.createObjectURL(file) });
  for (const [oldest, { url }] of kept) {
    if (kept.size <= KEPT) break;
    URL.revokeObjectURL(url);
    kept.delete(oldest);
  }
  return query;
}

/** Return {file, url} of a picture that was kept, or nothing: after a reload they are gone. */
export function pictureOf(query) {
  return kept.get(query);
}

/** Tell whether a query stands for a picture of this page and not for a stored image. */
export function isPicture(query) {
  return query.startsWith("upload-");
}

/** Return a button that chooses a file; on phones it offers the camera. */
export function chooser(text, found, className = "button main") {
  return el("label", { class: `choose ${className}` }, input(found), icon("picture"), el("span", {}, text));
}

/** Return a large area to click, inviting a picture. */
export function zone(found, { title, text, hint }) {
  return el(
    "label",
    { class: "choose zone" },
    input(found),
    el("span", { class: "zone-mark" }, icon("picture")),
    el("strong", { class: "for-mouse" }, title),
    el("strong", { class: "for-touch" }, "Take a photo, or choose one"),
    el("span", { class: "button main" }, text),
    hint,
  );
}

/** Move the focus to the file chooser that is on screen. */
export function focusChooser() {
  const choosers = [...document.querySelectorAll("main .choose input, .bar .choose input")];
  choosers.find((one) => one.checkVisibility())?.focus();
}

/** Listen for pictures that are dropped or pasted anywhere. found: called with all files; refused: with a sentence. */
export function acceptPictures({ found, refused }) {
  const overlay = document.getElementById("drop");
  const show = (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    overlay.hidden = false;
  };
  const hide = () => (overlay.hidden = true);
  addEventListener("dragenter", show);
  addEventListener("dragover", show);
  addEventListener("dragleave", (event) => event.relatedTarget === null && hide());
  addEventListener("dragend", hide);
  addEventListener("drop", (event) => {
    hide();
    if (!event.dataTransfer) return;
    event.preventDefault();
    if (event.dataTransfer.files.length) found([...event.dataTransfer.files]);
    else refused("Only files can be dropped here. Save the picture first, or copy it and paste it.");
  });
  addEventListener("paste", (event) => {
    if (event.target.closest?.("input:not([type=file]), textarea")) return;
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) found(files);
    else refused("The clipboard holds no picture. Copy a picture, not its address or its file's path.");
  });
}

/** Tell whether a file can be read at all: a dropped folder cannot, nor one that was deleted meanwhile. */
export async function isReadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

function input(found) {
  const chosen = el("input", {
    type: "file",
    accept: "image/*",
    class: "unseen",
    "aria-label": "Choose a picture to search for",
  });
  chosen.addEventListener("change", () => {
    const files = [...chosen.files];
    chosen.value = "";
    if (files.length) found(files);
  });
  return chosen;
}
