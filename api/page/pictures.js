// How pictures get onto this page: chosen, dropped, pasted, taken. Those of this visit are kept in memory, for Back.

import { el, icon } from "./elements.js";

const KEPT = 20;
const WEB = /^https?:\/\/\S+$/i;
const kept = new Map();

/** Keep the pictures of a query; return its name. */
export function keep(files) {
  const query = `upload-${Date.now().toString(36)}${kept.size}`;
  kept.set(query, { files, urls: files.map((file) => URL.createObjectURL(file)) });
  for (const [oldest, { urls }] of kept) {
    if (kept.size <= KEPT) break;
    for (const url of urls) URL.revokeObjectURL(url);
    kept.delete(oldest);
  }
  return query;
}

/** Return what a query of the address stands for: {files, urls}, {url} or {id}; nothing of pictures that are gone. */
export function queryOf(query) {
  if (isPicture(query)) return kept.get(query);
  return isWeb(query) ? { url: query } : { id: query };
}

/** Tell whether a query stands for a picture of this page and not for a stored image. */
export function isPicture(query) {
  return query.startsWith("upload-");
}

/** Tell whether a text is the address of something on the web. */
export function isWeb(text) {
  return WEB.test(text);
}

/** Return a button that chooses files; on phones it offers the camera, too. */
export function chooser(text, found, className = "button main") {
  return el("label", { class: `choose ${className}` }, input(found), icon("picture"), el("span", {}, text));
}

/** Return a button that opens the camera of a phone. */
export function camera(text, found) {
  const taken = input(found, { capture: "environment", label: "Take a photo to search for" });
  return el("label", { class: "choose button for-touch" }, taken, icon("camera"), el("span", {}, text));
}

/** Return a large area to click, inviting a picture. */
export function zone(found, { title, text, hint }) {
  return el(
    "label",
    { class: "choose zone" },
    input(found),
    el("span", { class: "zone-mark" }, icon("picture")),
    el("strong", { class: "for-mouse" }, title),
    el("strong", { class: "for-touch" }, "Choose a picture of yours"),
    el("span", { class: "button main" }, text),
    hint,
  );
}

/** Move the focus to the file chooser that is on screen. */
export function focusChooser() {
  const choosers = [...document.querySelectorAll("main .choose input, .bar .choose input")];
  choosers.find((one) => one.checkVisibility())?.focus();
}

/**
 * Listen for pictures that are dropped or pasted anywhere. found: called with all files; address: with the address of a
 * picture on the web; refused: with a sentence.
 */
export function acceptPictures({ found, address, refused }) {
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
    const text = event.clipboardData?.getData("text/plain").trim() ?? "";
    if (files.length) found(files);
    else if (isWeb(text)) address(text);
    else refused("The clipboard holds no picture. Copy a picture, or its address on the web.");
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

function input(found, { capture = null, label = "Choose pictures to search for" } = {}) {
  const chosen = el("input", {
    type: "file",
    accept: "image/*",
    multiple: capture === null,
    capture,
    class: "unseen",
    "aria-label": label,
  });
  chosen.addEventListener("change", () => {
    const files = [...chosen.files];
    chosen.value = "";
    if (files.length) found(files);
  });
  return chosen;
}
