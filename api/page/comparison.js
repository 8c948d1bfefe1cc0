// The picture that was searched by, laid over the image that it matches as the server found out, with a slider between.

import { el } from "./elements.js";

const LARGEST = 1600; // pixels of the drawn query's longer side

/**
 * Return the comparison. base: {src, width, height, name} of the stored image, in the pixels that the model means; query:
 * a picture's file; box: the part of it that was compared, in shares, or null; model: from its pixels to those of the
 * stored image, 3 rows of 3.
 */
export async function comparison(base, query, box, model) {
  const img = el("img", { src: base.src, alt: base.name, draggable: "false" });
  img.addEventListener("load", () => URL.revokeObjectURL(base.src), { once: true });
  const { canvas, scale } = await drawn(query, box);
  const shown = el("div", { class: "over" }, canvas);
  const line = el("div", { class: "seam", "aria-hidden": "true" });
  const slider = el("input", { type: "range", min: "0", max: "100", value: "50", "aria-label": "How much of your picture lies over it" });
  const sides = el("div", { class: "sides", "aria-hidden": "true" }, el("span", {}, "your picture"), el("span", {}, "the match"));
  const frame = el("div", { class: "compared" }, img, shown, line, sides, slider);
  const show = () => frame.style.setProperty("--seam", `${slider.value}%`);
  slider.addEventListener("input", show);
  show();
  const place = () => {
    const { clientWidth, clientHeight } = frame.parentElement ?? frame;
    if (!clientWidth) return;
    const fit = Math.min((clientWidth - 32) / base.width, (clientHeight - 88) / base.height);
    frame.style.width = `${base.width * fit}px`;
    frame.style.height = `${base.height * fit}px`;
    canvas.style.transform = matrix(model, 1 / scale, fit);
  };
  const stage = el("div", { class: "stage" }, frame);
  new ResizeObserver(place).observe(stage);
  return stage;
}

/** Draw the part of a picture that counts; scale: pixels of the canvas for each of the picture. */
async function drawn(file, box) {
  const bitmap = await createImageBitmap(file);
  const [x, y, width, height] = box ?? [0, 0, 1, 1];
  const wide = width * bitmap.width;
  const high = height * bitmap.height;
  const scale = Math.min(1, LARGEST / Math.max(wide, high));
  const canvas = el("canvas", { width: Math.max(1, Math.round(wide * scale)), height: Math.max(1, Math.round(high * scale)) });
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, x * bitmap.width, y * bitmap.height, wide, high, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return { canvas, scale };
}

/** Return the model as CSS has it: column by column, between pixels of the canvas and of the screen. */
function matrix(model, before, after) {
  const [[a, b, c], [d, e, f], [g, h, i]] = model;
  const rows = [
    [a * before * after, b * before * after, 0, c * after],
    [d * before * after, e * before * after, 0, f * after],
    [0, 0, 1, 0],
    [g * before, h * before, 0, i],
  ];
  return `matrix3d(${[0, 1, 2, 3].flatMap((column) => rows.map((row) => row[column])).join(",")})`;
}
