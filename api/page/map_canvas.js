// The map as a canvas: a dot for each image, and pictures of those that stand for their surroundings; moved and zoomed with
// the mouse, fingers or keys.

import { el } from "./elements.js";
import { MapPictures } from "./map_pictures.js";

const MARGIN = 32; // pixels around all points at first
const CELL = 72; // least pixels of a cell that one picture stands for
const SHARE = 0.76; // of its cell that a picture fills
const MOST_SCALE = 400; // times the scale that shows all
const REACH = 28; // pixels around a dot that count as the dot
const EDGE = 44; // pixels from the rim within which a point is still in sight
const DRAG = 4; // pixels; less is a click
const SETTLE_MS = 250;
const PAN = 80; // pixels for an arrow key
const ZOOM = 1.5;
const KEYS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

export class MapCanvas {
  #frame = 0;
  #pointers = new Map();

  /**
   * place: {x, y, scale} of before, or null: the place in the middle, and pixels for the whole width. opened: called with
   * a point's number; settled: with the place, once it rests.
   */
  constructor(points, collection, { place, opened, settled, signal }) {
    this.points = points;
    this.opened = opened;
    this.settled = settled;
    this.place = place;
    this.canvas = el("canvas", { class: "map-canvas", tabindex: "0", role: "application", "aria-roledescription": "map" });
    this.canvas.setAttribute(
      "aria-label",
      "Arrow keys move the map, plus and minus zoom, 0 shows all of it, Enter opens the picture in the middle",
    );
    this.context = this.canvas.getContext("2d");
    this.pictures = new MapPictures(collection, () => this.draw(), signal);
    this.listen(signal);
    new ResizeObserver(() => this.resize()).observe(this.canvas);
  }

  listen(signal) {
    const { canvas } = this;
    const on = (kind, heard, options = {}) => canvas.addEventListener(kind, heard, { signal, ...options });
    on("wheel", (event) => this.wheel(event), { passive: false });
    on("pointerdown", (event) => this.down(event));
    on("pointermove", (event) => this.move(event));
    on("pointerup", (event) => this.up(event));
    on("pointercancel", (event) => this.#pointers.delete(event.pointerId));
    on("pointerleave", () => this.hover(null));
    on("keydown", (event) => this.key(event));
    for (const kind of ["focus", "blur"]) on(kind, () => this.draw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw(), { signal });
    const themes = new MutationObserver(() => this.draw());
    themes.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    signal.addEventListener("abort", () => themes.disconnect());
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    this.dots = Math.min(devicePixelRatio, 2);
    Object.assign(this.canvas, { width: Math.round(width * this.dots), height: Math.round(height * this.dots) });
    this.image = this.context.createImageData(this.canvas.width, this.canvas.height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    if (this.place === null) this.fit();
    else this.go(this.place);
  }

  /** The scale that shows all. */
  get whole() {
    return Math.max(80, Math.min(this.canvas.clientWidth, this.canvas.clientHeight) - 2 * MARGIN);
  }

  fit() {
    this.place = { x: 0.5, y: 0.5, scale: this.whole };
    this.changed();
  }

  /** Zoom by a factor around a place of the screen, the middle if none is given. */
  zoom(factor, at = this.middle()) {
    const { x, y, scale } = this.place;
    const wanted = Math.max(this.whole / 2, Math.min(this.whole * MOST_SCALE, scale * factor));
    const [across, down] = [at[0] - this.middle()[0], at[1] - this.middle()[1]];
    const more = 1 / scale - 1 / wanted;
    this.go({ x: x + across * more, y: y + down * more, scale: wanted });
  }

  pan(across, down) {
    const { x, y, scale } = this.place;
    this.go({ x: within(x - across / scale), y: within(y - down / scale), scale });
  }

  /** Show a place, or the one beside it from where a point is in sight: nobody gets lost where there is nothing. */
  go({ x, y, scale }) {
    const [at] = this.points.nearest(x, y, 1);
    const [across, down] = this.middle().map((half) => Math.max(0, half - EDGE) / scale);
    this.place = { x: near(x, this.points.x(at), across), y: near(y, this.points.y(at), down), scale };
    this.changed();
  }

  middle() {
    return [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2];
  }

  changed() {
    this.draw();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.settled(this.place), SETTLE_MS);
  }

  /** Draw with the next frame, once, however often something changes before. */
  draw() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      if (this.pixels && this.place && this.canvas.isConnected) this.paint();
    });
  }

  paint() {
    const colour = rgb(getComputedStyle(this.canvas).color);
    this.paintDots(colour);
    this.context.setTransform(this.dots, 0, 0, this.dots, 0, 0);
    const shown = this.visible();
    const size = SHARE * this.cell();
    this.pictures.want(shown.map((at) => this.points.id(at)));
    for (const at of shown.toReversed()) this.paintPicture(at, size);
    this.context.setTransform(1, 0, 0, 1, 0, 0);
  }

  /** A square of two or three pixels for each point, by hand: thousands of rectangles would take too long. */
  paintDots([red, green, blue]) {
    const { pixels, points, dots, place } = this;
    const { width, height } = this.canvas;
    const ink = ((200 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    const side = Math.round((place.scale > 4 * this.whole ? 4 : 3) * dots);
    const scale = place.scale * dots;
    const left = width / 2 - place.x * scale - side / 2 + 0.5;
    const top = height / 2 - place.y * scale - side / 2 + 0.5;
    const { count, places } = points;
    pixels.fill(0);
    for (let at = 0; at < count; at += 1) {
      const x = Math.floor(left + places[2 * at] * scale);
      const y = Math.floor(top + places[2 * at + 1] * scale);
      if (x < 0 || y < 0 || x + side > width || y + side > height) continue;
      // Pixel by pixel: a call for each of so short rows takes seven times as long.
      for (let row = y * width + x, last = row + side * width; row < last; row += width) {
        for (let pixel = row; pixel < row + side; pixel += 1) pixels[pixel] = ink;
      }
    }
    this.context.putImageData(this.image, 0, 0);
  }

  level() {
    return Math.max(0, Math.floor(Math.log2(this.place.scale / CELL)));
  }

  /** Pixels of a cell on the screen: CELL at least, twice that at most. */
  cell() {
    return Math.min(this.place.scale / 2 ** this.level(), 2 * CELL);
  }

  /** Points whose pictures are shown, those near the middle first. */
  visible() {
    const [across, down] = this.middle();
    const shown = [];
    for (const at of this.points.representatives(this.level())) {
      const [x, y] = this.on(at);
      if (Math.abs(x - across) < across + CELL && Math.abs(y - down) < down + CELL) shown.push([at, Math.hypot(x - across, y - down)]);
    }
    return shown.sort((one, other) => one[1] - other[1]).map(([at]) => at);
  }

  /** Where a point is on the screen. */
  on(at) {
    const { x, y, scale } = this.place;
    const [across, down] = this.middle();
    return [across + (this.points.x(at) - x) * scale, down + (this.points.y(at) - y) * scale];
  }

  paintPicture(at, size) {
    const bitmap = this.pictures.get(this.points.id(at));
    if (!bitmap) return;
    const [x, y] = this.on(at);
    const fit = size / Math.max(bitmap.width, bitmap.height);
    const [width, height] = [bitmap.width * fit, bitmap.height * fit];
    const { context } = this;
    context.fillStyle = at === this.held ? getComputedStyle(this.canvas).color : "#ffffff";
    const edge = at === this.held ? 3 : 1;
    context.fillRect(x - width / 2 - edge, y - height / 2 - edge, width + 2 * edge, height + 2 * edge);
    context.drawImage(bitmap, x - width / 2, y - height / 2, width, height);
  }

  /** Return the point at a place of the screen: the picture there, else the nearest dot; undefined where there is none. */
  pointAt([across, down]) {
    const half = (SHARE * this.cell()) / 2;
    const over = this.visible().find((at) => {
      const [x, y] = this.on(at);
      return this.pictures.get(this.points.id(at)) && Math.abs(x - across) <= half && Math.abs(y - down) <= half;
    });
    if (over !== undefined) return over;
    const { x, y, scale } = this.place;
    const [middleX, middleY] = this.middle();
    return this.points.nearest(x + (across - middleX) / scale, y + (down - middleY) / scale, 1, REACH / scale)[0];
  }

  wheel(event) {
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), [event.offsetX, event.offsetY]);
  }

  down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    this.dragged = this.#pointers.size > 1 ? Infinity : 0;
  }

  move(event) {
    const here = [event.offsetX, event.offsetY];
    const before = this.#pointers.get(event.pointerId);
    if (!before) return this.hover(here);
    const others = [...this.#pointers].filter(([id]) => id !== event.pointerId);
    if (others.length) this.pinch(before, here, others[0][1]);
    else this.pan(here[0] - before[0], here[1] - before[1]);
    this.dragged += Math.hypot(here[0] - before[0], here[1] - before[1]);
    this.#pointers.set(event.pointerId, here);
  }

  pinch(before, here, other) {
    const apart = (one) => Math.max(1, Math.hypot(one[0] - other[0], one[1] - other[1]));
    this.zoom(apart(here) / apart(before), [(here[0] + other[0]) / 2, (here[1] + other[1]) / 2]);
    this.pan((here[0] - before[0]) / 2, (here[1] - before[1]) / 2);
  }

  up(event) {
    this.#pointers.delete(event.pointerId);
    if (this.dragged > DRAG || this.#pointers.size) return;
    const at = this.pointAt([event.offsetX, event.offsetY]);
    if (at !== undefined) this.opened(at);
  }

  hover(here) {
    const held = here === null ? undefined : this.pointAt(here);
    if (held === this.held) return;
    this.held = held;
    this.canvas.classList.toggle("pointing", held !== undefined);
    this.draw();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in KEYS) this.pan(PAN * KEYS[event.key][0], PAN * KEYS[event.key][1]);
    else if (event.key === "+" || event.key === "=") this.zoom(ZOOM);
    else if (event.key === "-") this.zoom(1 / ZOOM);
    else if (event.key === "0") this.fit();
    else if (event.key === "Enter") this.opened(this.points.nearest(this.place.x, this.place.y, 1)[0]);
    else return;
    event.preventDefault();
  }
}

function within(share) {
  return Math.max(-0.1, Math.min(1.1, share));
}

/** Return the value nearest to one that is no farther from another than `most`. */
function near(value, other, most) {
  return Math.max(other - most, Math.min(other + most, value));
}

function rgb(colour) {
  return colour.match(/[\d.]+/g).slice(0, 3).map(Number);
}
