// The duplicate report: groups around the image to keep. It only shows; nothing here changes a file.

import { duplicatesAddress } from "./addresses.js";
import { hasReport, lookForDuplicates } from "./dedup_job.js";
import { el, icon } from "./elements.js";
import { progressBar, progressLine } from "./job_words.js";
import { lookCloser } from "./large_view.js";
import { kindFilter } from "./kind_filter.js";
import { LiveReview } from "./live_review.js";
import { announce } from "./notices.js";
import { scoreHistogram } from "./score_histogram.js";
import { groups } from "./server.js";
import { failed, panel } from "./teaching.js";
import { folderLine, grid, lookTile, nameLine, placeholders } from "./tiles.js";
import { count, folder, KINDS, number, pixels, score, size } from "./words.js";
import { whenNear } from "./when_near.js";

const PAGE = 30;
const SHOWN_MEMBERS = 15;
const WAIT_MS = 350;
const STILL =
  "No file is changed here. This page shows which are copies and which one is worth keeping; " +
  "what you say of a copy is remembered, and the next report goes by it.";

/** Show the duplicate groups of the collection. */
export async function showDuplicates(view) {
  const report = new Report(view);
  if (view.memory.groups === undefined) await report.load();
  else report.draw(view.memory.groups);
}

class Report {
  constructor(view) {
    this.view = view;
    this.chosen = view.memory.chosen ?? view.threshold;
    this.asking = new AbortController();
    this.totals = el("dl", { class: "totals" });
    this.rows = el("div", { class: "groups" }, ...[3, 2, 4].map(blankGroup));
    this.foot = el("div", { class: "foot" });
    this.threshold = thresholdControl((value) => this.choose(value));
    this.scores = el("div", { class: "scores" });
    this.threshold.element.append(this.scores);
    this.kinds = kindFilter((kind) => this.chooseKind(kind));
    const still = el("p", { class: "still" }, icon("done"), STILL);
    this.review = new LiveReview(view, this.rows);
    this.threshold.show(this.chosen, this.chosen !== null);
    this.showTotals(null);
    view.main.replaceChildren(
      el(
        "header",
        { class: "result-head duplicates-head" },
        el("div", {}, el("h1", { tabindex: "-1" }, "Duplicates"), still),
        this.totals,
        this.threshold.element,
      ),
      this.kinds.element,
      this.review.element,
      this.rows,
      this.foot,
    );
  }

  /** Show the report with another threshold, or a new one. again: look for duplicates even if there is a report. */
  async choose(value, again = false) {
    const { view } = this;
    this.chosen = value;
    this.threshold.show(value, value !== null);
    history.replaceState(history.state, "", duplicatesAddress(view.collection.name, value));
    for (const part of Object.keys(view.memory)) delete view.memory[part];
    view.memory.chosen = value;
    // The last report may be one with another threshold that somebody chose, which is not the default one.
    await this.begin(
      async () => again || value === null || !(await hasReport(view.collection.name, value, view.signal)),
    );
  }

  /** Show only copies of a kind, null for all. */
  async chooseKind(kind) {
    const { memory } = this.view;
    delete memory.groups;
    delete memory.answer;
    memory.kind = kind;
    await this.begin(async () => false);
  }

  /** Fetch the first groups instead of what is shown. anew: tells whether to look for duplicates before. */
  async begin(anew) {
    this.asking.abort();
    this.asking = new AbortController();
    try {
      await this.load(await anew());
    } catch (error) {
      this.view.fail(error);
    }
  }

  /** Show more of the report, or its first groups. anew: look for duplicates again before. */
  async load(anew = false) {
    const { memory } = this.view;
    const signal = AbortSignal.any([this.view.signal, this.asking.signal]);
    this.rows.setAttribute("aria-busy", "true");
    try {
      if (memory.groups === undefined) {
        if (anew) await this.look(signal);
        else if (!(await hasReport(this.view.collection.name, this.chosen, signal))) return this.offer();
      }
      const cursor = memory.answer?.next_cursor ?? null;
      const wanted = { threshold: this.chosen, kind: memory.kind, limit: PAGE, cursor, signal };
      const answer = await groups(this.view.collection.name, wanted);
      signal.throwIfAborted();
      const first = memory.groups === undefined;
      memory.answer = answer;
      memory.groups = [...(memory.groups ?? []), ...answer.items];
      this.rows.removeAttribute("aria-busy");
      if (first) this.draw(answer.items);
      else this.add(answer.items);
    } catch (error) {
      if (error.name !== "AbortError") this.giveUp();
      throw error;
    }
  }

  /** Look for duplicates, and tell how far that is. */
  async look(signal) {
    const line = el("p", { role: "status" });
    const place = el("div", { class: "map-waiting" });
    this.rows.replaceChildren();
    this.foot.replaceChildren(place);
    const told = (job) => {
      line.textContent = `Looking for duplicates. ${progressLine(job)}`;
      place.replaceChildren(line, progressBar(job, "How far looking for duplicates is"));
    };
    await lookForDuplicates(this.view.collection.name, this.chosen, { signal, told });
    this.foot.replaceChildren();
  }

  /** Nobody has looked yet: say what looking does, and let the visitor begin it. */
  offer() {
    this.rows.removeAttribute("aria-busy");
    this.rows.replaceChildren();
    const begin = el("button", { type: "button", class: "button main" }, "Look for duplicates");
    begin.addEventListener("click", () => this.choose(this.chosen, true));
    const words =
      "Every image is compared with every other, and what seems a copy is looked at closely. That is a job of the server: " +
      "it goes on when you leave this page, and changes no file.";
    const title = this.chosen === null ? "Nobody has looked for duplicates yet" : "Nobody has looked with this score yet";
    this.foot.replaceChildren(panel(title, el("p", {}, words), begin));
  }

  giveUp() {
    this.rows.removeAttribute("aria-busy");
    if (this.view.memory.groups !== undefined) return;
    this.rows.replaceChildren();
    this.foot.replaceChildren(failed("There is no report", this.view.again));
  }

  draw(items) {
    const { answer } = this.view.memory;
    this.threshold.show(answer.threshold, this.chosen !== null);
    this.showTotals(answer);
    const none = el("p", { class: "quiet" }, "No near copies, so no scores to show.");
    this.scores.replaceChildren(answer.scores ? scoreHistogram(answer.scores, answer.threshold) : none);
    this.kinds.show(answer.kinds, this.view.memory.kind);
    this.rows.replaceChildren();
    this.more = whenNear("Show more groups", () => this.load(), this.view);
    this.add(items);
    announce(`${count(answer.groups_total, "group")} of duplicates`);
  }

  add(items) {
    const { answer } = this.view.memory;
    this.rows.append(...items.map((group) => groupRow(this.view.collection.name, group, this.review)));
    if (!answer.groups_total) this.foot.replaceChildren(noDuplicates(answer));
    else if (answer.next_cursor === null) this.foot.replaceChildren(this.end());
    else this.foot.replaceChildren(this.more);
  }

  /** Return what stands below the last group: whether there is more to find by now. */
  end() {
    const { answer } = this.view.memory;
    const again = el("button", { type: "button", class: "button quiet", onclick: () => this.choose(this.chosen, true) });
    again.textContent = "Look again";
    const all = this.view.memory.kind ? "These are all groups with such copies." : "These are all groups.";
    const told = answer.changed ? "The collection has changed since these were found." : all;
    return el("div", {}, el("p", { class: "quiet" }, told), again);
  }

  showTotals(answer) {
    const facts = {
      [answer?.groups_total === 1 ? "group" : "groups"]: answer && number(answer.groups_total),
      [answer?.copies_total === 1 ? "copy" : "copies"]: answer && number(answer.copies_total),
      reclaimable: answer && size(answer.bytes_reclaimable),
      "images compared": answer && number(answer.images),
    };
    const rows = Object.entries(facts).map(([term, value]) =>
      el("div", {}, el("dt", {}, term), el("dd", {}, value ?? "–")),
    );
    this.totals.replaceChildren(...rows);
  }
}

/** Return {element, show}: a slider and a number that agree. changed: called once they rest, null for the default. */
function thresholdControl(changed) {
  const slider = el("input", { type: "range", min: "0.5", max: "1", step: "0.01", id: "threshold" });
  const exact = el("input", {
    type: "number",
    min: "-1",
    max: "1",
    step: "0.01",
    "aria-label": "Least score of a near copy, as a number",
  });
  const standard = el(
    "button",
    { type: "button", class: "button quiet", title: "The value for this backbone" },
    "Default",
  );
  let timer;
  const later = (source, other) => {
    clearTimeout(timer);
    if (source.value === "" || Math.abs(source.value) > 1) return;
    other.value = source.value;
    timer = setTimeout(() => changed(Number(source.value)), WAIT_MS);
  };
  slider.addEventListener("input", () => later(slider, exact));
  exact.addEventListener("input", () => later(exact, slider));
  standard.addEventListener("click", () => {
    clearTimeout(timer);
    changed(null);
  });
  const label = el("label", { for: "threshold" }, "Least score of a near copy");
  const ends = el(
    "div",
    { class: "ends quiet", "aria-hidden": "true" },
    el("span", {}, "more"),
    el("span", {}, "surer"),
  );
  const element = el(
    "div",
    { class: "threshold" },
    label,
    el("div", { class: "threshold-inputs" }, el("div", {}, slider, ends), exact, standard),
  );
  const show = (value, chosen) => {
    standard.disabled = !chosen;
    if (value === null || document.activeElement === exact) return;
    slider.value = value;
    exact.value = String(Number(value.toFixed(4)));
  };
  return { element, show };
}

function groupRow(collection, { keeper, members }, review) {
  const everyone = [keeper, ...members];
  const list = grid({
    label: "The image to keep, then its copies",
    look: (id) => lookCloser(collection, everyone, id),
    className: "group-tiles",
  });
  const later = members.slice(SHOWN_MEMBERS);
  const tileOf = (member) => review.add(memberTile(collection, member), keeper, member);
  list.append(keeperTile(collection, keeper), ...members.slice(0, SHOWN_MEMBERS).map(tileOf));
  const freed = members.reduce((sum, member) => sum + member.bytes, 0);
  const row = el(
    "section",
    { class: `group ${width(everyone.length)}` },
    el(
      "header",
      {},
      el("h2", {}, count(members.length, "copy", "copies")),
      el("p", { class: "quiet" }, `${size(freed)} reclaimable`),
    ),
    list,
  );
  if (later.length) row.append(showLater(list, later, tileOf));
  return row;
}

/** Small groups stand side by side. */
function width(images) {
  if (images === 2) return "pair";
  return images <= 4 ? "few" : "";
}

function showLater(list, later, tileOf) {
  const button = el(
    "button",
    { type: "button", class: "button quiet" },
    `Show ${count(later.length, "more copy", "more copies")}`,
  );
  button.addEventListener("click", () => {
    const tiles = later.map(tileOf);
    list.append(...tiles);
    tiles[0].querySelector(".face").focus({ preventScroll: true });
    button.remove();
  });
  return button;
}

function keeperTile(collection, keeper) {
  const tile = lookTile(
    collection,
    keeper,
    el("p", { class: "facts reason" }, keeper.reason),
    nameLine(keeper),
    details(keeper),
  );
  tile.classList.add("keeper");
  tile.prepend(el("span", { class: "badge keep" }, icon("done"), "keep"));
  return tile;
}

function memberTile(collection, member) {
  const same = member.relation === "identical";
  const badge = el("span", { class: `badge ${member.relation}` }, KINDS[member.kind]);
  const facts = same ? [badge] : [el("span", { class: "score" }, score(member.score)), badge];
  return lookTile(collection, member, el("p", { class: "facts" }, ...facts), nameLine(member), details(member));
}

function details(image) {
  const where = folder(image);
  return el(
    "p",
    { class: "details quiet" },
    `${pixels(image)} · ${size(image.bytes)}`,
    where && folderLine(image),
  );
}

function blankGroup(amount) {
  const list = el("ul", { class: "grid group-tiles" }, ...placeholders(amount));
  return el(
    "section",
    { class: "group blank-group", "aria-hidden": "true" },
    el("header", {}, el("span", { class: "blank-line" })),
    list,
  );
}

function noDuplicates(answer) {
  const compared = count(answer.images, "image");
  return panel(
    "No duplicates",
    el("p", {}, `None of ${compared} is a copy of another at a score of ${score(answer.threshold)} or more.`),
    el(
      "p",
      { class: "quiet" },
      "A lower score above finds copies that were changed more, and some pictures that only look alike.",
    ),
  );
}
