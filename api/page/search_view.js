// Searching by picture: the results beside the query.

import { resultsAddress } from "./addresses.js";
import { beforeFilter, joined, labelled } from "./conditions.js";
import { el } from "./elements.js";
import { Examples } from "./examples.js";
import { FilterBox, isAboutCondition } from "./filter_box.js";
import { rest } from "./following.js";
import { labelChooser } from "./label_chooser.js";
import { lookCloser } from "./large_view.js";
import { announce } from "./notices.js";
import { chooser, queryOf } from "./pictures.js";
import { QuerySide } from "./query_side.js";
import { fields, imageById, search } from "./server.js";
import { showStart } from "./start_view.js";
import { failed, panel } from "./teaching.js";
import { focusTile, grid, placeholders, searchTile } from "./tiles.js";
import { count, edit, name, number, pixels, relation, score, size, verdictOn } from "./words.js";

const FIRST_K = 24;
const MAX_K = 1000;
const SEEN = 6; // pictures
const SEEN_MS = 800;
const NOTHING = "Nothing in this collection can be compared with the picture yet.";
const NONE_FULFILS = "No image of this collection fulfils that.";
const GONE = "A picture you choose stays in this page's memory, and a reload empties that. Choose it again.";

/** Show the start of a search, or the results of the address's query. */
export async function showSearch(view) {
  if (view.query === null) return showStart(view);
  const query = queryOf(view.query);
  if (query === undefined) {
    const gone = panel("This picture is gone", el("p", {}, GONE), chooser("Choose a picture", view.search));
    return view.main.replaceChildren(gone);
  }
  const results = new Results(view, query);
  if (view.memory.answer === undefined) await results.load(FIRST_K);
  else await results.draw(view.memory.answer.matches);
}

/** The results of one query: {files, urls} of pictures of this page, {id} of a stored image, or {url} of one on the web. */
class Results {
  constructor(view, query) {
    const { memory } = view;
    this.view = view;
    this.query = query;
    const { label, filter, box, unique, like, unlike } = view;
    // A part of a picture is searched for alone.
    memory.wish ??= { label, filter, unique, like, unlike, box: like.length + unlike.length ? null : box };
    this.box = new FilterBox(this.wish.filter, (filter) => this.choose({ filter }), () =>
      fields(view.collection.name, view.signal),
    );
    this.asking = new AbortController();
    this.matches = [];
    this.shown = new Set();
    this.list = grid({
      label: "Results, closest first",
      look: (id) => lookCloser(view.collection.name, this.matches, id, this.explainable()),
    });
    this.list.append(...placeholders(Math.min(FIRST_K, view.collection.searchable)));
    this.title = el("h1", { tabindex: "-1" }, "Searching…");
    this.note = el("p", { class: "quiet note" }, "\u00a0");
    this.foot = el("div", { class: "foot" });
    this.side = new QuerySide(view, query, this.wish.box, (box) => this.choosePart(box));
    this.examples = new Examples(view, this.list, () => this.wish, (examples) => this.chooseExamples(examples));
    this.body = el(
      "div",
      { class: "result-body" },
      el("header", { class: "result-head" }, el("div", {}, this.title, this.note), this.choices()),
      this.box.element,
      this.examples.element,
      this.list,
      this.foot,
    );
    const labels = view.collection.labels ? "labelled" : "";
    view.main.replaceChildren(el("div", { class: `results ${labels}` }, this.side.element, this.body));
  }

  /** What the results are to be: {label, filter, box, unique, like, unlike}. */
  get wish() {
    return this.view.memory.wish;
  }

  /** What a match can be explained by: one picture, sent or stored, of which no part was drawn. */
  explainable() {
    if (this.examples.some) return null;
    const { files, id } = this.query;
    if (files?.length === 1) return { file: files[0], box: this.wish.box };
    return id ? { id, box: this.wish.box } : null;
  }

  /** Whether the query is one picture of this page or of the store, whose pixels can be looked at. */
  onePicture() {
    return !this.query.url && !(this.query.files?.length > 1) && !this.examples.some;
  }

  /** The facet of labels, where the collection has them, and whether copies of one another count once. */
  choices() {
    const { unique, label } = this.wish;
    const once = el("input", { type: "checkbox", checked: unique, onchange: () => this.choose({ unique: once.checked }) });
    const title = "Copies of one another, as the last duplicates job found them, are shown as one";
    return el(
      "div",
      { class: "choices" },
      el("label", { class: "check", title }, once, "Collapse copies"),
      this.view.collection.labels ? labelChooser(this.view, label, (chosen) => this.choose({ label: chosen })) : null,
    );
  }

  /** Search for a part of the picture, which goes without examples. */
  async choosePart(box) {
    const searching = this.choose(box === null ? { box } : { box, like: [], unlike: [] });
    this.examples.show();
    await searching;
  }

  /** Search for what is like some images and unlike others, all of the picture among the former. */
  chooseExamples(examples) {
    this.side.clear();
    return this.choose({ ...examples, box: null });
  }

  /** Search anew with another wish. */
  async choose(changed) {
    const { view } = this;
    const wish = { ...this.wish, ...changed };
    this.asking.abort();
    const { names } = view.memory;
    view.memory = view.step(resultsAddress(view.collection.name, view.query, wish));
    Object.assign(view.memory, { wish, names });
    this.asking = new AbortController();
    this.looking = false;
    this.list.classList.add("stale");
    try {
      await this.load(FIRST_K);
    } catch (error) {
      view.fail(error);
    }
  }

  /** Ask for k matches and show those that are new. */
  async load(k) {
    const { view } = this;
    this.body.setAttribute("aria-busy", "true");
    try {
      const answer = await this.ask(k, false);
      this.box.accept();
      view.memory.answer = answer;
      view.memory.k = k;
      if (this.list.classList.contains("stale")) this.forget();
      await this.draw(answer.matches);
      // Of a picture that shows nothing only identical ones count: there is nothing to look at.
      if (answer.note === undefined && this.onePicture()) this.look(k);
    } catch (error) {
      if (this.wish.filter !== null && isAboutCondition(error)) return this.refuse(error);
      if (error.name !== "AbortError" && !this.matches.length) this.giveUp(error);
      throw error;
    } finally {
      this.body.removeAttribute("aria-busy");
    }
  }

  /** Ask again, with a look at the pixels, which takes longer; then show in that order what is known by then. */
  async look(k) {
    const { view, asking } = this;
    this.looking = true;
    this.head();
    try {
      await firstSeen(this.list, view.signal);
      if (this.asking !== asking) return;
      const answer = await this.ask(k, true);
      if (this.asking !== asking || view.memory.k !== k) return;
      this.looking = false;
      view.memory.answer = answer;
      this.reorder(answer.matches);
    } catch (error) {
      if (error.name === "AbortError" || this.asking !== asking) return;
      this.looking = false;
      this.head();
      view.fail(error);
    }
  }

  /** Show these matches instead, in their order; what has the focus keeps it. */
  reorder(matches) {
    const focused = document.activeElement?.closest?.(".tile")?.dataset.id;
    const held = this.list.contains(document.activeElement) ? focused : undefined;
    this.matches.splice(0, this.matches.length, ...matches);
    this.shown = new Set(matches.map((match) => match.id));
    this.list.replaceChildren(...matches.map((match) => this.tile(match)));
    if (held !== undefined) focusTile(this.list, held);
    this.head();
    this.foot.replaceChildren(...this.ending());
  }

  ask(k, accurate) {
    const { label, filter, ...rest } = this.wish;
    const where = joined(label === null ? [] : [labelled(label)], filter);
    const signal = AbortSignal.any([this.view.signal, this.asking.signal]);
    return search(this.view.collection.name, this.query, { k, where, accurate, ...rest, signal });
  }

  /** Take away the results for another wish. */
  forget() {
    this.list.classList.remove("stale");
    this.list.replaceChildren();
    this.matches = [];
    this.shown.clear();
  }

  /** Say at the filter what is wrong with it. Results of before stay, dimmed; nothing is said of results any more. */
  refuse(error) {
    for (const blank of this.list.querySelectorAll(".blank")) blank.remove();
    this.box.refuse(error, beforeFilter(this.wish.label === null ? [] : [this.wish.label]));
    this.title.textContent = "The filter cannot be understood";
    this.note.textContent = "\u00a0";
    this.foot.replaceChildren();
    announce("");
  }

  giveUp(error) {
    this.body.replaceChildren(failed("The search did not work", this.view.again, error));
  }

  async draw(matches) {
    const fresh = matches.filter((match) => !this.shown.has(match.id));
    for (const blank of this.list.querySelectorAll(".blank")) blank.remove();
    for (const match of fresh) this.shown.add(match.id);
    this.matches.push(...fresh);
    this.list.append(...fresh.map((match) => this.tile(match)));
    this.head();
    this.foot.replaceChildren(...this.ending());
    if (!this.side.described) await this.describeStored();
  }

  /** An image that lacks the chosen label is not among its own results. */
  async describeStored() {
    const image = await imageById(this.view.collection.name, this.query.id, this.view.signal);
    this.side.describe(name(image), `${pixels(image)} · ${size(image.bytes)}`);
  }

  tile(match) {
    const self = match.id === this.query.id;
    const done = match.edits?.length ? match.edits.map(edit).join(", ") : null;
    const words = self ? "this image" : relation(match.relation);
    const badge = el("span", { class: `badge ${match.relation}`, title: done }, words);
    const copies = match.copies ? el("span", { class: "badge copies" }, `+${count(match.copies, "copy", "copies")}`) : null;
    const scored = el("span", { class: "score" }, score(match.score));
    const made = searchTile(this.view.collection.name, withFirst(match, this.wish.label), scored, badge, copies);
    if (self) {
      made.classList.add("self");
      this.side.describe(name(match), `${pixels(match)} · ${size(match.bytes)}`);
    } else this.examples.add(made, match);
    return made;
  }

  head() {
    const { view, matches } = this;
    this.title.textContent = this.verdict();
    const took = Math.max(1, Math.round(view.memory.answer.took_ms.total));
    const among = this.narrowed ? this.narrowed : ` of ${count(view.collection.searchable, "image")}`;
    const looking = this.looking ? " · looking at the pixels…" : "";
    const { note } = view.memory.answer;
    const closest = `The closest ${number(matches.length)}${among} · ${number(took)} ms${looking}`;
    this.note.textContent = note ? sentence(note) : closest;
    if (!this.looking) announce(`${this.title.textContent}. ${count(matches.length, "result")}.`);
  }

  /** The answer in words: were copies found? The query itself does not count. */
  verdict() {
    if (this.examples.some) return this.matches.length ? "Like your examples" : "Nothing is like your examples";
    const others = this.matches.filter((match) => match.id !== this.query.id);
    const found = verdictOn(others);
    const own = this.matches.find((match) => match.id === this.query.id)?.copies;
    if (own) return `${count(own, "other copy", "other copies")} of it${found.words && `, and ${found.words}`}`;
    if (!found.words && this.looking) return "Looking for copies…";
    if (!found.words) return this.query.id ? "No other copy found" : "No copy found";
    const more = found.copies === others.length && this.matches.length === this.view.memory.k;
    return (more ? "At least " : "") + found.words;
  }

  /** Of which images the results are, "" for all. */
  get narrowed() {
    if (this.wish.filter !== null) return " that the filter lets through";
    return this.wish.label === null ? "" : " with this label";
  }

  ending() {
    const k = this.view.memory.k;
    if (this.view.memory.answer.note && this.matches.length < k) return [];
    if (!this.matches.length) return [panel("No results", el("p", {}, this.narrowed ? NONE_FULFILS : NOTHING))];
    if (this.matches.length < k) return [el("p", { class: "quiet" }, this.all())];
    if (k >= MAX_K)
      return [el("p", { class: "quiet" }, `These are the closest ${number(MAX_K)}; a search shows no more.`)];
    const more = el("button", { type: "button", class: "button more" }, "Show more");
    more.addEventListener("click", () => this.more(Math.min(2 * k, MAX_K), more));
    return [more];
  }

  all() {
    if (this.matches.length === 1) return `That is the only image${this.narrowed}.`;
    return `These are all ${number(this.matches.length)} images${this.narrowed}.`;
  }

  async more(k, button) {
    const before = this.matches.length;
    button.disabled = true;
    button.textContent = "Searching…";
    try {
      await this.load(k);
      this.list.children[before]?.querySelector(".face").focus({ preventScroll: true });
    } catch (error) {
      button.disabled = false;
      button.textContent = "Show more";
      this.view.fail(error);
    }
  }
}

/** Wait for the first pictures, not for long: a look at pixels would keep the server from sending them. */
function firstSeen(list, signal) {
  const first = [...list.querySelectorAll(".face img")].slice(0, SEEN).filter((img) => !img.complete);
  const arrived = (img) => new Promise((done) => ["load", "error"].forEach((end) => img.addEventListener(end, done, { once: true })));
  return Promise.race([Promise.all(first.map(arrived)), rest(SEEN_MS, signal)]);
}

/** Return a note of the server as a sentence of the page. */
function sentence(note) {
  return `${note[0].toUpperCase()}${note.slice(1)}.`;
}

/** Return a match whose labels begin with the chosen one, so that its tile shows why it is there. */
function withFirst(match, chosen) {
  const one = match.labels?.find(({ label }) => label === chosen);
  return one ? { ...match, labels: [one, ...match.labels.filter((other) => other !== one)] } : match;
}
