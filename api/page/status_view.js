// How a collection is doing: whether all of it is found, what searches find, what scores mean.

import { address } from "./addresses.js";
import { command, el, icon } from "./elements.js";
import { labels, status } from "./server.js";
import { statusHead } from "./status_head.js";
import { count, moment, number } from "./words.js";

const KINDS = { exact: "Every image is compared", ivf: "The nearest lists are compared" };

/** Show the status of the collection. */
export async function showStatus(view) {
  const body = el("div", { class: "status-body" }, ...blanks());
  view.main.replaceChildren(...statusHead(view, "status", "Status"), body);
  const { collection, signal } = view;
  const [found, given] = await Promise.all([status(collection.name, signal), labels(collection.name, { limit: 1, signal })]);
  body.replaceChildren(verdict(found), el("div", { class: "cards" }, files(found), index(found), scores(found), backbone(found, given.items.length > 0)));
}

/** Is everything that was seen found? In words, with what is missing. */
function verdict(found) {
  const share = found.seen ? found.searchable / found.seen : 1;
  const nothing = !found.searchable && found.ledger_only > 0;
  const good = found.complete && !nothing;
  const missing = found.missing.map((one) => el("li", {}, one));
  return el(
    "section",
    { class: `verdict ${good ? "good" : "bad"}` },
    el("span", { class: "teach-mark" }, icon(good ? "done" : "warning")),
    el(
      "div",
      {},
      el("h2", {}, nothing ? "No picture could be indexed" : good ? "Complete" : "Not complete"),
      el("p", {}, nothing ? none(found) : good ? complete(found) : found.summary),
      missing.length ? el("ul", {}, ...missing) : null,
      found.damage ? el("p", { class: "trouble" }, found.damage) : null,
    ),
    meter(share, "Share of the files that were seen which searches find"),
  );
}

function none({ ledger_only: lost }) {
  return `${count(lost, "file was", "files were")} seen, and searches find nothing. The list of failures says why.`;
}

function complete({ seen, searchable, ledger_only: lost }) {
  const told = lost ? `; ${count(lost, "other is", "others are")} in the list of failures` : "";
  return `Of ${count(seen, "file")} that were seen, searches find ${number(searchable)}${told}.`;
}

function files(found) {
  const facts = {
    "Files seen": number(found.seen),
    Images: number(found.images),
    "Found by searches": number(found.searchable),
    Failed: found.failed ? el("a", { href: address("failures", found.name) }, number(found.failed)) : "0",
    "No images, ignored": number(found.ignored),
    Removed: number(found.tombstones),
    Segments: number(found.segments),
  };
  return card("Files", facts);
}

function index({ index: made, live, regions }) {
  const recall = live ? `${percent(live.recall)} of ${count(live.checks, "checked search", "checked searches")}` : null;
  const facts = {
    "How it searches": KINDS[made.kind] ?? made.kind ?? "Every image is compared",
    "Images in the index": number(made.rows),
    "Newer, compared one by one": number(made.delta),
    "Recall aimed at": made.recall_target === null ? null : percent(made.recall_target),
    "Recall when it was built": made.recall_measured === null ? null : percent(made.recall_measured),
    "Recall of live searches": recall,
    Transform: made.transform === "none" ? null : made.transform,
    "Images with regions": regions ? number(regions.images) : null,
  };
  const exact = made.recall_measured === null ? "Nothing is left out: every search compares every image, so recall is 100 %." : null;
  return card("Index", facts, exact && el("p", { class: "quiet" }, exact));
}

function scores({ calibration, name }) {
  if (calibration === null) {
    const words = "Nobody has found out yet what a score means in this collection. Then matches come with a probability, and duplicates with a promised precision.";
    const option = name === "default" ? "" : ` --collection ${name}`;
    return card("Scores", {}, el("p", { class: "quiet" }, words), command(`lookalike${option} calibrate`));
  }
  const { automatic, review, made_at: made } = calibration;
  const facts = {
    Calibrated: moment(made),
    "Holds still": calibration.current ? "yes" : `no: ${calibration.objection}`,
    [`Sure copies from (${percent(automatic.precision)})`]: threshold(automatic),
    [`Probable copies from (${percent(review.precision)})`]: threshold(review),
  };
  return card("Scores", facts);
}

/** labelled: whether some images have labels; those may be given with images, too. */
function backbone(found, labelled) {
  const consent = found.licence_accepted_at ? `, agreed to on ${found.licence_accepted_at.slice(0, 10)}` : "";
  const upgrade = found.upgrade ? `${found.upgrade.state}, ${number(found.upgrade.missing)} images to go` : null;
  const facts = {
    Backbone: found.backbone,
    Licence: `${found.licence ?? "unknown"}${consent}`,
    Labels: found.labels ? "kept" : labelled ? "of some images" : "none",
    "Local features": found.local.kept ? `${number(found.local.images)} images` : "none",
    "Another backbone": upgrade,
  };
  return card("Embeddings", facts);
}

function card(title, facts, ...more) {
  const rows = Object.entries(facts)
    .filter(([, value]) => value !== null)
    .map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value)));
  return el("section", { class: "card" }, el("h2", {}, title), rows.length ? el("dl", {}, ...rows) : null, ...more);
}

function threshold({ score }) {
  return score === null ? "no score shows it" : score.toFixed(3);
}

function meter(share, label) {
  const bar = el("progress", { max: "1", "aria-label": label });
  bar.value = share;
  return bar;
}

/** Return "99.4 %"; never 100 % of what is not all. */
function percent(share) {
  const text = (100 * share).toFixed(1);
  return `${share < 1 && text === "100.0" ? "99.9" : text.replace(/\.0$/, "")} %`;
}

function blanks() {
  const card = () => el("section", { class: "card blank-card", "aria-hidden": "true" });
  return [el("section", { class: "verdict blank-card", "aria-hidden": "true" }), el("div", { class: "cards" }, card(), card(), card(), card())];
}
