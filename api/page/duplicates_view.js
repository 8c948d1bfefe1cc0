// The duplicate report: groups around the image to keep, and what a person says of them. Nothing here changes a file; the
// plan that does is a view of its own.

import { address, duplicatesAddress } from "./addresses.js";
import { hasReport, lookForDuplicates } from "./dedup_job.js";
import { duplicatesHead, heading } from "./duplicates_head.js";
import { el, icon } from "./elements.js";
import { blankGroup, groupRow } from "./group_rows.js";
import { progressBar, progressLine } from "./job_words.js";
import { kindFilter } from "./kind_filter.js";
import { LiveReview } from "./live_review.js";
import { announce } from "./notices.js";
import { refusalOf, whyNot } from "./role.js";
import { scoreHistogram } from "./score_histogram.js";
import { groups } from "./server.js";
import { failed, panel } from "./teaching.js";
import { thresholdControl } from "./threshold_control.js";
import { count, KINDS, number, score, size } from "./words.js";
import { whenNear } from "./when_near.js";

const PAGE = 30;
const STILL =
  "No file is changed here. This page shows which are copies and which one is worth keeping; " +
  "what you say of a copy is remembered, and the plan goes by it.";
const ASKED_ABOUT = Object.keys(KINDS).filter((kind) => kind !== "same_bytes");

/** Show the duplicate groups of the collection. */
export async function showDuplicates(view) {
  if (view.memory.refusal === undefined) {
    view.main.replaceChildren(...duplicatesHead(view.collection.name, "duplicates", heading("Duplicates")));
    view.memory.refusal = await refusalOf("dedup", view.signal);
  }
  const report = new Report(view);
  if (view.memory.groups === undefined) await report.load();
  else report.draw(view.memory.groups);
}

class Report {
  constructor(view) {
    const { threshold, kind, open, memory } = view;
    this.view = view;
    memory.wish ??= { threshold, kind, open };
    this.asking = new AbortController();
    this.totals = el("dl", { class: "totals" });
    this.onward = el("div", { class: "onward" });
    this.rows = el("div", { class: "groups" }, ...[3, 2, 4].map(blankGroup));
    this.foot = el("div", { class: "foot" });
    this.threshold = thresholdControl((value) => this.choose(value));
    this.scores = el("div", { class: "scores" });
    this.threshold.element.append(this.scores);
    this.kinds = kindFilter((changed) => this.narrow(changed));
    this.review = new LiveReview(view, this.rows);
    this.threshold.show(this.chosen, this.chosen !== null);
    this.showTotals(null);
    const still = el("p", { class: "still" }, icon("done"), STILL);
    this.head = el("div", { class: "duplicates-head" }, still, this.totals, this.onward, this.threshold.element);
    this.reviewing = memory.refusal === null ? this.review.element : whyNot(memory.refusal);
    view.main.replaceChildren(
      ...duplicatesHead(view.collection.name, "duplicates", heading("Duplicates")),
      this.head,
      this.kinds.element,
      this.reviewing,
      this.rows,
      this.foot,
    );
  }

  /** What is to be shown: {threshold, kind, open}. */
  get wish() {
    return this.view.memory.wish;
  }

  /** The threshold that somebody chose, null for the default one. */
  get chosen() {
    return this.wish.threshold;
  }

  /** Show the report with another threshold, or a new one. again: look for duplicates even if there is a report. */
  async choose(value, again = false) {
    const { view } = this;
    this.threshold.show(value, value !== null);
    this.remember({ threshold: value });
    // The last report may be one with another threshold that somebody chose, which is not the default one.
    await this.begin(
      async () => again || value === null || !(await hasReport(view.collection.name, value, view.signal)),
    );
  }

  /** Show only copies of a kind (null for all), or only those that nobody has reviewed. */
  async narrow(changed) {
    this.remember(changed);
    await this.begin(async () => false);
  }

  /** Wish for something else, which the address says. Nothing of what is shown counts for it. */
  remember(changed) {
    const { view } = this;
    this.asking.abort();
    const { refusal, verdicts } = view.memory;
    const wish = { ...this.wish, ...changed };
    view.memory = view.step(duplicatesAddress(view.collection.name, wish));
    Object.assign(view.memory, { refusal, verdicts, wish });
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
      const wanted = { threshold: this.chosen, kinds: this.asked(), limit: PAGE, cursor, signal };
      const answer = await groups(this.view.collection.name, wanted);
      signal.throwIfAborted();
      const first = memory.groups === undefined;
      memory.answer = answer;
      memory.groups = [...(memory.groups ?? []), ...answer.items];
      this.rows.removeAttribute("aria-busy");
      if (first) this.draw(answer.items);
      else this.add(answer.items);
    } catch (error) {
      if (error.name !== "AbortError") this.giveUp(error);
      throw error;
    }
  }

  /** Kinds of copies to ask the server for, null for all. Nobody is asked about copies of the same bytes. */
  asked() {
    const { kind, open } = this.wish;
    if (kind !== null) return [kind];
    return open ? ASKED_ABOUT : null;
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
    if (this.chosen === null) this.showTools(false); // nothing to count, narrow or review yet
    const begin = this.looking("Look for duplicates", "button main");
    const words =
      "Every image is compared with every other, and what seems a copy is looked at closely. That is a job of the server: " +
      "it goes on when you leave this page, and changes no file. What the command line found is under Plans.";
    const title = this.chosen === null ? "This server has not looked for duplicates yet" : "This server has not looked with this score yet";
    this.foot.replaceChildren(panel(title, el("p", {}, words), begin));
  }

  /** Return a button that looks for duplicates, or why there is none. */
  looking(text, name) {
    const { refusal } = this.view.memory;
    if (refusal !== null) return whyNot(refusal);
    return el("button", { type: "button", class: name, onclick: () => this.choose(this.chosen, true) }, text);
  }

  giveUp(error) {
    this.rows.removeAttribute("aria-busy");
    if (this.view.memory.groups !== undefined) return;
    this.rows.replaceChildren();
    this.foot.replaceChildren(failed("There is no report", this.view.again, error));
  }

  /** Show, or hide, what is of use only with a report. */
  showTools(shown) {
    for (const part of [this.head, this.kinds.element, this.reviewing]) part.hidden = !shown;
  }

  draw(items) {
    this.showTools(true);
    const { answer } = this.view.memory;
    this.threshold.show(answer.threshold, this.chosen !== null);
    this.showTotals(answer);
    const none = el("p", { class: "quiet" }, "No near copies, so no scores to show.");
    this.scores.replaceChildren(answer.scores ? scoreHistogram(answer.scores, answer.threshold) : none);
    this.kinds.show(answer.kinds, this.wish);
    this.onward.replaceChildren(...onward(this.view.collection.name, answer));
    this.rows.replaceChildren();
    this.more = whenNear("Show more groups", () => this.load(), this.view);
    this.add(items);
    announce(`${count(answer.groups_total, "group")} of duplicates`);
  }

  add(items) {
    const { answer } = this.view.memory;
    const left = this.wish.open ? items.map((group) => this.review.open(group)).filter(({ members }) => members.length) : items;
    this.rows.append(...left.map((group) => groupRow(this.view.collection.name, group, this.review)));
    if (!answer.groups_total) this.foot.replaceChildren(noDuplicates(answer));
    else if (answer.next_cursor === null) this.foot.replaceChildren(this.end());
    else this.foot.replaceChildren(this.more);
  }

  /** Return what stands below the last group: whether there is more to find by now. */
  end() {
    const { answer } = this.view.memory;
    const all = this.wish.kind || this.wish.open ? "These are all groups with such copies." : "These are all groups.";
    const none = this.wish.open ? "Everything has been reviewed that fits this." : "No copy is left that fits this.";
    const told = answer.changed ? "The collection has changed since these were found." : all;
    const words = el("p", { class: "quiet" }, this.rows.children.length ? told : none);
    return el("div", {}, words, this.looking("Look again", "button quiet"));
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

/** What leads on from a report: the plan that it wrote, where anything can go. */
function onward(collection, { plan, groups_total: found }) {
  if (!plan || !found) return [];
  const words = "What would go is shown first, and all of it can be undone.";
  const link = el("a", { class: "button main", href: address("plans", collection, plan) }, "See what would go", icon("next"));
  return [link, el("p", { class: "quiet" }, words)];
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
