// A collection: its images as a grid that grows while one scrolls, narrowed by facets, a timeline and a written condition.

import { browseAddress } from "./addresses.js";
import { beforeFilter, isInFilter, joined, monthName } from "./conditions.js";
import { el } from "./elements.js";
import { chips, FacetPanel } from "./facet_panel.js";
import { FilterBox, isAboutCondition } from "./filter_box.js";
import { lookCloser } from "./large_view.js";
import { announce } from "./notices.js";
import { facets, fields, images } from "./server.js";
import { failed, panel } from "./teaching.js";
import { grid, placeholders, searchTile } from "./tiles.js";
import { timeline } from "./timeline.js";
import { count, number } from "./words.js";
import { whenNear } from "./when_near.js";

const PAGE = 48;

/** Show the images of the collection in the order they were indexed. */
export function showBrowse(view) {
  const browsing = new Browsing(view);
  return browsing.begin();
}

class Browsing {
  constructor(view) {
    this.view = view;
    this.collection = view.collection;
    view.memory.only ??= view.only;
    if (view.memory.filter === undefined) view.memory.filter = view.filter;
    this.asking = new AbortController();
    this.panel = new FacetPanel((where) => this.toggle(where));
    this.box = new FilterBox(view.memory.filter, (filter) => this.narrow({ filter }), () => fields(this.collection.name, view.signal));
    this.note = el("p", { class: "quiet note", role: "status" }, "\u00a0");
    this.chosen = el("div", { class: "chosen" });
    this.time = el("div", { class: "time" });
    const look = (id) => lookCloser(this.collection.name, view.memory.images, id);
    this.list = grid({ label: "Images in the order they were indexed", look, className: "dense" });
    this.foot = el("div", { class: "foot" });
    const heading = el("header", { class: "result-head" }, el("h1", { tabindex: "-1" }, "Browse"), this.note);
    view.main.replaceChildren(
      el(
        "div",
        { class: "browse" },
        heading,
        el("aside", { class: "side", "aria-label": "Facets" }, this.panel.element),
        el("div", { class: "browse-body" }, this.time, this.box.element, this.chosen, this.list, this.foot),
      ),
    );
  }

  get memory() {
    return this.view.memory;
  }

  get where() {
    return joined(this.memory.only, this.memory.filter);
  }

  async begin() {
    this.showChosen();
    if (this.memory.facets) this.showFacets();
    if (this.memory.images) this.add(this.memory.images);
    // Together, so that none of them fails unheard.
    await Promise.all([this.memory.images ? null : this.load(), this.memory.facets ? null : this.count()]);
  }

  /** Add a condition to those chosen, or take it away; null takes all away. */
  toggle(where) {
    const { only } = this.memory;
    const rest = only.filter((one) => one !== where);
    if (where === null) return this.narrow({ only: [] });
    return this.narrow({ only: rest.length < only.length ? rest : [...only, where] });
  }

  async narrow({ only = this.memory.only, filter = this.memory.filter }) {
    this.asking.abort();
    this.view.memory = this.view.step(browseAddress(this.collection.name, { only, filter }));
    Object.assign(this.memory, { only, filter });
    this.asking = new AbortController();
    this.list.classList.add("stale");
    this.showChosen();
    try {
      await Promise.all([this.load(), this.count()]);
    } catch (error) {
      this.view.fail(error);
    }
  }

  showChosen() {
    const shown = chips(this.memory.only, (where) => this.toggle(where));
    this.chosen.replaceChildren(...(shown === null ? [] : [shown]));
  }

  async count() {
    const signal = AbortSignal.any([this.view.signal, this.asking.signal]);
    try {
      this.memory.facets = await facets(this.collection.name, { where: this.where, signal });
      this.showFacets();
    } catch (error) {
      if (error.name !== "AbortError" && !isAboutCondition(error)) throw error; // the list says what is wrong
    }
  }

  showFacets() {
    const found = this.memory.facets;
    this.panel.show(found, this.memory.only);
    const focused = document.activeElement?.getAttribute?.("aria-label");
    const shown = timeline(found.months, this.memory.only, (where) => this.toggle(where));
    this.time.replaceChildren(shown ?? el("p", { class: "quiet" }, undated(found)));
    if (shown && focused) [...shown.querySelectorAll("button")].find((one) => one.ariaLabel === focused)?.focus();
    this.showNote();
  }

  showNote() {
    const shown = this.memory.images?.length;
    const all = this.where === null ? this.collection.images : this.memory.facets?.images;
    if (shown === undefined || all === undefined) return;
    this.note.textContent = `${number(shown)} of ${count(all, "image")}, in the order they were indexed`;
  }

  async load() {
    const { memory, view, asking } = this;
    const signal = AbortSignal.any([view.signal, asking.signal]);
    const stale = this.list.classList.contains("stale");
    if (!stale) this.list.append(...placeholders(Math.min(PAGE, this.collection.images - (memory.images?.length ?? 0))));
    try {
      const page = await images(this.collection.name, { limit: PAGE, cursor: memory.cursor, where: this.where, signal });
      signal.throwIfAborted();
      this.box.accept();
      if (memory.images === undefined) this.list.replaceChildren();
      memory.images = [...(memory.images ?? []), ...page.items];
      memory.cursor = page.next_cursor;
      this.add(page.items);
      announce(`${number(memory.images.length)} images shown`);
    } catch (error) {
      if (this.where !== null && isAboutCondition(error)) return this.refuse(error);
      if (memory.images === undefined && error.name !== "AbortError")
        this.foot.replaceChildren(failed("Nothing to show yet", view.again, error));
      throw error;
    } finally {
      if (asking === this.asking) this.settle();
    }
  }

  settle() {
    for (const blank of this.list.querySelectorAll(".blank")) blank.remove();
    this.list.classList.remove("stale");
  }

  /** Say what is wrong where it stands: in the filter that somebody wrote, or in what the address has chosen. */
  refuse(error) {
    const { only, filter } = this.memory;
    this.list.replaceChildren();
    if (this.panel.last === undefined) this.panel.wait();
    if (isInFilter(error, only, filter)) {
      this.box.refuse(error, beforeFilter(only));
      this.foot.replaceChildren();
      this.note.textContent = "The filter cannot be understood";
      return;
    }
    this.note.textContent = "What was chosen cannot be understood";
    const away = el("button", { type: "button", class: "button", onclick: () => this.toggle(null) }, "Take it away");
    const words = "The address of this page names a facet that there is not. What you wrote into the filter stays.";
    this.foot.replaceChildren(panel("There is no such facet", el("p", {}, words), away));
  }

  add(items) {
    this.list.append(...items.map((image) => searchTile(this.collection.name, image)));
    this.showNote();
    this.foot.replaceChildren(this.ending());
  }

  ending() {
    if (!this.memory.images.length) return this.nothing();
    if (this.memory.cursor === null) return el("p", { class: "quiet" }, "That is all.");
    return whenNear("Show more images", () => this.load(), { ...this.view, signal: AbortSignal.any([this.view.signal, this.asking.signal]) });
  }

  nothing() {
    const all = el("button", { type: "button", class: "button", onclick: () => this.all() }, "Show all images");
    const words = "No image of this collection fulfils all of it. Take something away, or begin anew.";
    return panel("Nothing is left", el("p", {}, words), all);
  }

  all() {
    this.box.clear();
    return this.narrow({ only: [], filter: null });
  }
}

/** What stands in the place of a timeline. */
function undated({ images: all, undated: without, months }) {
  if (!all) return "";
  if (months.length === 1) return `All that say when they were taken are of ${monthName(months[0].value)}.`;
  return without ? "There is no timeline: no camera says when these were taken." : "";
}
