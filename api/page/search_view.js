// Searching by picture: where it starts, and the results beside the query.

import { resultsAddress } from "./addresses.js";
import { el } from "./elements.js";
import { FilterBox } from "./filter_box.js";
import { labelChooser } from "./label_chooser.js";
import { lookCloser } from "./large_view.js";
import { announce } from "./notices.js";
import { chooser, isPicture, pictureOf, zone } from "./pictures.js";
import { beforeFilter, condition, imageById, images, searchByImage, searchByPicture } from "./server.js";
import { failed, panel } from "./teaching.js";
import { focusTile, grid, noPicture, picture, placeholders, searchTile } from "./tiles.js";
import { count, edit, listed, name, number, pixels, relation, score, size } from "./words.js";

const FIRST_K = 24;
const MAX_K = 1000;
const SAMPLES = 12;
const NOTHING = "Nothing in this collection can be compared with the picture yet.";
const NONE_FULFILS = "No image of this collection fulfils that.";

/** Show the start of a search, or the results of the address's query. */
export function showSearch(view) {
  return view.query === null ? showStart(view) : showResults(view);
}

async function showStart(view) {
  const control = /Mac|iP/.test(navigator.platform) ? "⌘" : "Ctrl";
  const hint = el(
    "span",
    { class: "quiet keys" },
    "or paste it with ",
    el("kbd", {}, control),
    " ",
    el("kbd", {}, "V"),
    " · ",
    el("kbd", {}, "/"),
    " comes back here",
  );
  const searchable = count(view.collection.searchable, "image");
  const look = (id) => lookCloser(view.collection.name, view.memory.samples, id);
  const list = grid({ label: "Images of the collection", look, className: "samples" });
  list.append(...placeholders(Math.min(SAMPLES, view.collection.images)));
  view.main.replaceChildren(
    el(
      "section",
      { class: "start" },
      el("h1", { tabindex: "-1" }, "Have you seen this picture?"),
      el("p", { class: "lead" }, `Find its copies and everything that looks like it, among ${searchable}.`),
      zone(view.search, { title: "Drop a picture anywhere", text: "Choose a picture", hint }),
    ),
    el("section", { class: "from-here" }, el("h2", {}, "Or start from one of yours"), list),
  );
  view.memory.samples ??= (await images(view.collection.name, { limit: SAMPLES, signal: view.signal })).items;
  list.replaceChildren(...view.memory.samples.map((image) => searchTile(view.collection.name, image)));
}

async function showResults(view) {
  const query = isPicture(view.query) ? pictureOf(view.query) : { id: view.query };
  if (query === undefined) return showForgotten(view);
  const results = new Results(view, query);
  if (view.memory.answer === undefined) await results.load(FIRST_K);
  else await results.draw(view.memory.answer.matches);
}

function showForgotten(view) {
  view.main.replaceChildren(
    panel(
      "This picture is gone",
      el("p", {}, "A picture you choose stays in this page's memory, and a reload empties that. Choose it again."),
      chooser("Choose a picture", view.search),
    ),
  );
}

/** The results of one query. query: {file, url} of a picture of this page, or {id} of a stored image. */
class Results {
  constructor(view, query) {
    this.view = view;
    this.query = query;
    this.label = view.memory.label === undefined ? view.label : view.memory.label;
    this.filter = view.memory.filter === undefined ? view.filter : view.memory.filter;
    this.box = new FilterBox(this.filter, (filter) => this.choose({ filter }));
    this.asking = new AbortController();
    this.matches = [];
    this.shown = new Set();
    this.list = grid({
      label: "Results, closest first",
      look: (id) => lookCloser(view.collection.name, this.matches, id, query.file),
    });
    this.list.append(...placeholders(Math.min(FIRST_K, view.collection.searchable)));
    this.title = el("h1", { tabindex: "-1" }, "Searching…");
    this.note = el("p", { class: "quiet note" }, "\u00a0");
    this.foot = el("div", { class: "foot" });
    this.queryFacts = el("div", { class: "query-facts" });
    this.queryPicture = el("div", { class: "query-picture" }, this.preview());
    this.body = el(
      "div",
      { class: "result-body" },
      el("header", { class: "result-head" }, el("div", {}, this.title, this.note), this.chooser()),
      this.box.element,
      this.list,
      this.foot,
    );
    const root = el("div", { class: `results ${view.collection.labels ? "labelled" : ""}` }, this.side(), this.body);
    view.main.replaceChildren(root);
    if (query.file) this.describe(query.file.name || "pasted picture", size(query.file.size));
  }

  side() {
    const another = chooser("Another picture", this.view.search, "button");
    return el(
      "aside",
      { class: "query", "aria-label": "The picture searched for" },
      this.queryPicture,
      el("div", { class: "query-text" }, this.queryFacts, another),
    );
  }

  /** The facet of labels, where the collection has them. */
  chooser() {
    if (!this.view.collection.labels) return null;
    return labelChooser(this.view, this.label, (label) => this.choose({ label }));
  }

  /** Search anew among the images with a label, and those that a filter lets through; null: among all. */
  async choose({ label = this.label, filter = this.filter }) {
    const { view } = this;
    this.label = label;
    this.filter = filter;
    history.replaceState(history.state, "", resultsAddress(view.collection.name, view.query, { label, filter }));
    for (const part of Object.keys(view.memory)) delete view.memory[part];
    Object.assign(view.memory, { label, filter });
    this.asking.abort();
    this.asking = new AbortController();
    this.list.classList.add("stale");
    try {
      await this.load(FIRST_K);
    } catch (error) {
      view.fail(error);
    }
  }

  preview() {
    if (!this.query.file) return picture(this.view.collection.name, { id: this.query.id }, 640);
    const shown = el("img", { src: this.query.url, alt: "Your picture", class: "loaded", draggable: "false" });
    shown.addEventListener("error", () => shown.replaceWith(noPicture("No preview of this format")), { once: true });
    return shown;
  }

  describe(title, facts) {
    this.described = true;
    document.title = `${title} · Lookalike`;
    this.queryFacts.replaceChildren(
      el("p", { class: "name", title }, el("bdi", {}, title)),
      el("p", { class: "quiet" }, facts),
    );
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
      if (answer.note === undefined) this.look(k);
    } catch (error) {
      if (this.filter !== null && isAboutCondition(error)) return this.refuse(error);
      if (error.name !== "AbortError" && !this.matches.length) this.giveUp();
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
    const { collection } = this.view;
    const where = condition(this.label, this.filter);
    const wanted = { k, where, accurate, signal: AbortSignal.any([this.view.signal, this.asking.signal]) };
    return this.query.file
      ? searchByPicture(collection.name, this.query.file, wanted)
      : searchByImage(collection.name, this.query.id, wanted);
  }

  /** Take away the results for another label. */
  forget() {
    this.list.classList.remove("stale");
    this.list.replaceChildren();
    this.matches = [];
    this.shown.clear();
  }

  /** Say at the filter what is wrong with it. Results of before stay, dimmed; nothing is said of results any more. */
  refuse(error) {
    for (const blank of this.list.querySelectorAll(".blank")) blank.remove();
    const [message] = error.message.split("\n");
    const at = error.position === undefined ? null : error.position - 1 - beforeFilter(this.label);
    this.box.refuse(message.replace(/^where, at character \d+: /, ""), at);
    this.title.textContent = "The filter cannot be understood";
    this.note.textContent = "\u00a0";
    this.foot.replaceChildren();
    announce("");
  }

  giveUp() {
    this.body.replaceChildren(failed("The search did not work", this.view.again));
  }

  async draw(matches) {
    const fresh = matches.filter((match) => !this.shown.has(match.id));
    for (const blank of this.list.querySelectorAll(".blank")) blank.remove();
    for (const match of fresh) this.shown.add(match.id);
    this.matches.push(...fresh);
    this.list.append(...fresh.map((match) => this.tile(match)));
    this.head();
    this.foot.replaceChildren(...this.ending());
    if (!this.described) await this.describeStored();
  }

  /** An image that lacks the chosen label is not among its own results. */
  async describeStored() {
    const image = await imageById(this.view.collection.name, this.query.id, this.view.signal);
    this.describe(name(image), `${pixels(image)} · ${size(image.bytes)}`);
  }

  tile(match) {
    const self = match.id === this.query.id;
    const done = match.edits?.length ? match.edits.map(edit).join(", ") : null;
    const badge = el(
      "span",
      { class: `badge ${match.relation}`, ...(done ? { title: done } : {}) },
      self ? "this image" : relation(match.relation),
    );
    const made = searchTile(
      this.view.collection.name,
      withFirst(match, this.label),
      el("span", { class: "score" }, score(match.score)),
      badge,
    );
    if (self) {
      made.classList.add("self");
      this.describe(name(match), `${pixels(match)} · ${size(match.bytes)}`);
    }
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
    const others = this.matches.filter((match) => match.id !== this.query.id);
    const identical = others.filter((match) => match.relation === "identical").length;
    const edited = others.filter((match) => match.relation === "same_picture").length;
    const copies = others.filter((match) => match.relation === "probable").length;
    const found = [];
    if (identical) found.push(count(identical, "identical image"));
    if (edited) found.push(count(edited, "edited copy", "edited copies"));
    if (copies) found.push(count(copies, "probable copy", "probable copies"));
    if (!found.length && this.looking) return "Looking for copies…";
    if (!found.length) return this.query.file ? "No copy found" : "No other copy found";
    const more = identical + edited + copies === others.length && this.matches.length === this.view.memory.k;
    return (more ? "At least " : "") + listed(found);
  }

  /** Of which images the results are, "" for all. */
  get narrowed() {
    if (this.filter !== null) return " that the filter lets through";
    return this.label === null ? "" : " with this label";
  }

  ending() {
    const k = this.view.memory.k;
    if (this.view.memory.answer.note && this.matches.length < k) return [];
    if (!this.matches.length) return [panel("No results", el("p", {}, this.narrowed ? NONE_FULFILS : NOTHING))];
    const among = this.narrowed;
    if (this.matches.length < k)
      return [el("p", { class: "quiet" }, `These are all ${count(this.matches.length, "image")}${among}.`)];
    if (k >= MAX_K)
      return [el("p", { class: "quiet" }, `These are the closest ${number(MAX_K)}; a search shows no more.`)];
    const next = Math.min(2 * k, MAX_K);
    return [
      el(
        "button",
        { type: "button", class: "button more", onclick: (event) => this.more(next, event.currentTarget) },
        "Show more",
      ),
    ];
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

/** Return a note of the server as a sentence of the page. */
function sentence(note) {
  return `${note[0].toUpperCase()}${note.slice(1)}.`;
}

/** Tell whether the server refused a condition: at a place of it, or as too large. */
function isAboutCondition({ position, message }) {
  return position !== undefined || /^where /.test(message);
}

/** Return a match whose labels begin with the chosen one, so that its tile shows why it is there. */
function withFirst(match, chosen) {
  const one = match.labels?.find(({ label }) => label === chosen);
  return one ? { ...match, labels: [one, ...match.labels.filter((other) => other !== one)] } : match;
}
