// The scores of a report's near copies as a small drawing, as in a report that is a file (api/duplicate_report/histogram.py).

import { el } from "./elements.js";
import { count, number, score } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 440;
const HEIGHT = 96;
const FOOT = 20; // for the numbers below
const HEAD = 14; // for the name of the threshold

/** Return the drawing with its caption. scores: as `GET .../groups` tells them. */
export function scoreHistogram(scores, threshold) {
  const { lowest, median, highest, start, step, counts } = scores;
  const copies = counts.reduce((sum, one) => sum + one, 0);
  const span = `from ${score(lowest)} to ${score(highest)}; median ${score(median)}`;
  const told = `Scores of ${count(copies, "near copy", "near copies")}, ${span}`;
  const box = `0 0 ${WIDTH} ${HEIGHT + FOOT + HEAD}`;
  const drawing = draw("svg", { viewBox: box, role: "img", "aria-label": told });
  drawing.append(...bars(counts, start, step), ...axis(start, counts.length * step, threshold));
  return el("figure", { class: "histogram" }, drawing, el("figcaption", { class: "quiet" }, told));
}

function bars(counts, start, step) {
  const width = WIDTH / counts.length;
  const most = Math.max(...counts);
  return counts.flatMap((here, place) => {
    if (!here) return [];
    const height = Math.max(2, (HEIGHT * here) / most); // few are seen beside many
    const bar = draw("rect", {
      x: place * width + 0.5,
      y: HEAD + HEIGHT - height,
      width: width - 1,
      height,
      rx: 1.5,
    });
    const low = start + place * step;
    bar.append(draw("title", {}, `${low.toFixed(2)} to ${(low + step).toFixed(2)}: ${number(here)}`));
    return [bar];
  });
}

function axis(start, length, threshold) {
  const base = HEAD + HEIGHT;
  const parts = [draw("line", { x1: 0, x2: WIDTH, y1: base + 0.5, y2: base + 0.5 })];
  for (const [share, anchor] of [[0, "start"], [0.5, "middle"], [1, "end"]]) {
    const place = { x: share * WIDTH, y: base + 15, "text-anchor": anchor };
    parts.push(draw("text", place, (start + share * length).toFixed(2)));
  }
  if (threshold < start || threshold > start + length) return parts;
  const x = (WIDTH * (threshold - start)) / length;
  const anchor = x < WIDTH / 2 ? "start" : "end";
  parts.push(draw("line", { class: "limit", x1: x, x2: x, y1: 0, y2: base }));
  const beside = { class: "limit-name", x: x + (anchor === "start" ? 4 : -4), y: 9, "text-anchor": anchor };
  parts.push(draw("text", beside, `threshold ${threshold.toFixed(2)}`));
  return parts;
}

function draw(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
