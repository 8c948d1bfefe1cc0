// A box on a picture: drawn with the mouse, a finger or the keyboard, told in shares of the picture.

import { el } from "./elements.js";

const LEAST = 0.04; // of the picture; a shorter drag is a click
const AT_FIRST = [0.25, 0.25, 0.5, 0.5];
const STEP = 0.02;
const WAIT_MS = 600;
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** The layer over an img that is shown whole in its frame. drawn: called with [x, y, width, height], 0 to 1, or null. */
export class BoxDrawing {
  constructor(img, box, drawn) {
    this.img = img;
    this.box = box;
    this.drawn = drawn;
    this.mark = el("div", { class: "box", tabindex: "0", role: "group", hidden: true });
    this.layer = el("div", { class: "box-layer" }, this.mark);
    this.layer.addEventListener("pointerdown", (event) => this.begin(event));
    this.mark.addEventListener("keydown", (event) => this.key(event));
    const watcher = new ResizeObserver(() => this.place());
    watcher.observe(img);
    img.addEventListener("load", () => this.place());
    this.place();
  }

  /** Put a box in the middle for the keyboard and for fingers, or take the box away. */
  toggle() {
    if (this.box !== null) return this.set(null);
    this.set(AT_FIRST);
    this.mark.focus();
  }

  /** Lie exactly over what the img shows, without the margins that keep its aspect. */
  place() {
    const { naturalWidth: width, naturalHeight: height, clientWidth, clientHeight } = this.img;
    if (!width || !clientWidth) return;
    const scale = Math.min(clientWidth / width, clientHeight / height);
    Object.assign(this.layer.style, {
      left: `${(clientWidth - width * scale) / 2}px`,
      top: `${(clientHeight - height * scale) / 2}px`,
      width: `${width * scale}px`,
      height: `${height * scale}px`,
    });
    this.show();
  }

  show() {
    const { mark, box } = this;
    mark.hidden = box === null;
    if (box === null) return;
    const [left, top, width, height] = box.map((share) => `${100 * share}%`);
    Object.assign(mark.style, { left, top, width, height });
    const percent = box.map((share) => Math.round(100 * share));
    const place = `${percent[0]}–${percent[0] + percent[2]} % across, ${percent[1]}–${percent[1] + percent[3]} % down`;
    mark.setAttribute("aria-label", `Searched part: ${place}. Arrow keys move it, with Shift they resize it, Delete ends it`);
  }

  begin(event) {
    if (event.button !== 0 || !this.img.naturalWidth) return;
    event.preventDefault();
    const from = this.at(event);
    const before = this.box;
    const held = this.inside(from) ? from : null;
    const controller = new AbortController();
    const { signal } = controller;
    this.layer.setPointerCapture(event.pointerId);
    const move = (moved) => {
      const to = this.at(moved);
      this.box = held ? shifted(before, to[0] - held[0], to[1] - held[1]) : between(from, to);
      this.show();
    };
    const end = (kept) => {
      controller.abort();
      const moved = this.box !== before;
      if (kept && moved && this.box[2] >= LEAST && this.box[3] >= LEAST) return this.drawn(this.box);
      this.box = before;
      this.show();
    };
    this.layer.addEventListener("pointermove", move, { signal });
    this.layer.addEventListener("pointerup", () => end(true), { signal });
    this.layer.addEventListener("pointercancel", () => end(false), { signal });
  }

  inside([x, y]) {
    const { box } = this;
    return box !== null && x >= box[0] && y >= box[1] && x <= box[0] + box[2] && y <= box[1] + box[3];
  }

  at(event) {
    const { left, top, width, height } = this.layer.getBoundingClientRect();
    return [clamped((event.clientX - left) / width), clamped((event.clientY - top) / height)];
  }

  key(event) {
    if (event.key === "Delete" || event.key === "Backspace" || event.key === "Escape") this.set(null);
    else if (event.key === "Enter") this.tell();
    else if (event.key in KEYS) this.step(KEYS[event.key], event.shiftKey);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  step([x, y], resize) {
    const [left, top, width, height] = this.box;
    this.box = resize
      ? [left, top, within(width + x * STEP, LEAST, 1 - left), within(height + y * STEP, LEAST, 1 - top)]
      : shifted(this.box, x * STEP, y * STEP);
    this.show();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.tell(), WAIT_MS);
  }

  /** Take the box away, and tell nobody. */
  clear() {
    clearTimeout(this.timer);
    this.box = null;
    this.show();
  }

  set(box) {
    this.box = box;
    this.show();
    this.tell();
  }

  tell() {
    clearTimeout(this.timer);
    this.drawn(this.box);
  }
}

function between([x, y], [right, bottom]) {
  return [Math.min(x, right), Math.min(y, bottom), Math.abs(right - x), Math.abs(bottom - y)];
}

function shifted([left, top, width, height], x, y) {
  return [within(left + x, 0, 1 - width), within(top + y, 0, 1 - height), width, height];
}

function within(value, least, most) {
  return Math.max(least, Math.min(most, value));
}

function clamped(share) {
  return within(share, 0, 1);
}
