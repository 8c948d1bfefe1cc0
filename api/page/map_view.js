// The map of a collection: images that look alike lie together. Below it the pictures in its middle, as links.

import { el, icon } from "./elements.js";
import { lookCloser } from "./large_view.js";
import { MapCanvas } from "./map_canvas.js";
import { MapPoints } from "./map_points.js";
import { announce } from "./notices.js";
import { collectionMap, imageById } from "./server.js";
import { panel } from "./teaching.js";
import { grid, placeholders, searchTile } from "./tiles.js";
import { count, number } from "./words.js";

const LISTED = 12;
const LEAST = 3;
const MOST = 20_000; // images on a map
const LOOK_MS = 700;

/** Show the map. */
export async function showMap(view) {
  if (view.collection.images < LEAST) return view.main.replaceChildren(tooFew());
  const shown = new MapView(view);
  view.memory.points ??= await fetched(view, (done) => shown.wait(done));
  shown.begin(view.memory.points);
}

class MapView {
  constructor(view) {
    this.view = view;
    this.known = new Map();
    this.note = el("p", { class: "quiet note", role: "status" }, "Images that look alike lie together");
    this.bar = el("progress", { max: "1", "aria-label": "How much of the map is done" });
    this.waiting = el("div", { class: "map-waiting" }, el("p", {}, "Drawing the map…"), this.bar);
    this.stage = el("div", { class: "map-stage" }, this.waiting);
    const look = (id) => lookCloser(view.collection.name, [...this.known.values()], id);
    this.list = grid({ label: "Images in the middle of the map", look, className: "dense" });
    this.list.append(...placeholders(LISTED));
    view.main.replaceChildren(
      el("header", { class: "result-head" }, el("h1", { tabindex: "-1" }, "Map"), this.note),
      this.stage,
      el("section", { class: "in-the-middle" }, el("h2", {}, "In the middle of the map"), this.list),
    );
  }

  wait(done) {
    this.bar.value = done;
  }

  begin(points) {
    const { view } = this;
    this.points = points;
    this.map = new MapCanvas(points, view.collection.name, {
      place: view.memory.place ?? null,
      opened: (at) => this.open(at).catch(view.fail),
      settled: (place) => this.settle(place).catch(view.fail),
      signal: view.signal,
    });
    this.stage.replaceChildren(this.map.canvas, this.controls());
    const sample = points.count < points.images ? `${number(points.count)} of ` : "";
    const later = points.count < Math.min(points.images, MOST) ? ". The newest are not on it yet" : "";
    this.note.textContent = `${sample}${count(points.images, "image")}: those that look alike lie together${later}`;
  }

  controls() {
    const button = (name, label, act) =>
      el("button", { type: "button", class: "button bare", "aria-label": label, title: label, onclick: act }, icon(name));
    return el(
      "div",
      { class: "map-controls", role: "group", "aria-label": "Zoom" },
      button("plus", "Zoom in", () => this.map.zoom(2)),
      button("minus", "Zoom out", () => this.map.zoom(1 / 2)),
      button("fit", "Show all of it", () => this.map.fit()),
    );
  }

  async open(at) {
    const image = await this.image(this.points.id(at));
    lookCloser(this.view.collection.name, [image], image.id);
  }

  /** List what lies in the middle, once the map rests. */
  async settle(place) {
    this.view.memory.place = place;
    const ids = this.points.nearest(place.x, place.y, LISTED).map((at) => this.points.id(at));
    const held = this.list.contains(document.activeElement);
    const images = await Promise.all(ids.map((id) => this.image(id).catch(gone)));
    if (this.view.memory.place !== place) return;
    const shown = images.filter((image) => image !== null);
    this.list.replaceChildren(...shown.map((image) => searchTile(this.view.collection.name, image)));
    if (held) this.list.querySelector(".face")?.focus({ preventScroll: true });
    announce(`${count(shown.length, "image")} in the middle of the map`);
  }

  async image(id) {
    const { view } = this;
    if (!this.known.has(id)) this.known.set(id, await imageById(view.collection.name, id, view.signal));
    return this.known.get(id);
  }
}

/** Return the points, as soon as the server has them. told: how much of the map is done, 0 to 1. */
async function fetched(view, told) {
  for (;;) {
    const { data, done } = await collectionMap(view.collection.name, view.signal);
    if (data !== null) return new MapPoints(data);
    told(done);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    view.signal.throwIfAborted();
  }
}

/** An image that was removed meanwhile is left out. */
function gone(error) {
  if (error.status === 404) return null;
  throw error;
}

function tooFew() {
  const words = "The map lays images that look alike side by side. That takes three of them at least; index some more.";
  return panel("A map needs more images", el("p", {}, words));
}
