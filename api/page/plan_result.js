// What came of a job that acted on a plan, and what can be done where it was refused.

import { address } from "./addresses.js";
import { el, icon } from "./elements.js";
import { kindOf } from "./job_words.js";
import { outcome } from "./plan_words.js";
import { count } from "./words.js";

const SHOWN = 20;

/** Return what came of a job. undo: a button that takes it back, or null. */
export function resultPanel(collection, job, undo) {
  if (job.state !== "done") return ended(collection, job);
  const { title, lines, left, skipped } = outcome(job);
  const said = [...lines, ...left].map((line) => el("li", {}, line));
  const list = job.result.drop ? saveButton(job.result) : null;
  return card(
    skipped.length ? "warning" : "done",
    title,
    said.length ? el("ul", {}, ...said) : "",
    skipped.length ? skippedList(skipped) : "",
    el("div", { class: "plan-buttons" }, undo ?? "", list ?? ""),
  );
}

/** Return why a job was not even begun. */
export function troublePanel(collection, error) {
  return card("warning", error.title ?? "Not done", el("p", {}, sentence(error.message)), lookAgain(collection, error));
}

function ended(collection, job) {
  const title = job.state === "cancelled" ? `${kindOf(job)}: ended by somebody` : `${kindOf(job)} did not work`;
  const words = job.problem === null ? "What was done until then stays; the same again goes on from there." : sentence(job.problem.detail);
  return card("warning", title, el("p", {}, words), job.problem === null ? "" : lookAgain(collection, job.problem));
}

/** A plan that a guard refuses is replaced by a new one. */
function lookAgain(collection, { status }) {
  if (status !== 409) return "";
  return el("a", { class: "button", href: address("duplicates", collection) }, "Look for duplicates again");
}

function card(mark, title, ...children) {
  return el(
    "section",
    { class: `card told ${mark}` },
    el("span", { class: "teach-mark" }, icon(mark)),
    el("div", {}, el("h2", { tabindex: "-1" }, title), ...children),
  );
}

/** Groups that were left alone, or files that stay, with the reason. */
function skippedList(skipped) {
  const rows = skipped.slice(0, SHOWN).map(({ path, reason }) => el("li", {}, el("bdi", { class: "path-line" }, path), ` ${reason}`));
  const more = skipped.length - SHOWN;
  if (more > 0) rows.push(el("li", {}, `and ${count(more, "more", "more")}`));
  return el("div", { class: "skipped" }, el("p", {}, `Left alone: ${count(skipped.length, "file does", "files do")} not fit any more.`), el("ul", {}, ...rows));
}

/** A button that saves what can go as a table. */
function saveButton({ plan, drop, truncated }) {
  const text = truncated ? `Save the first ${drop.length} as CSV` : "Save as CSV";
  const button = el("button", { type: "button", class: "button" }, text);
  button.addEventListener("click", () => {
    const rows = drop.map(({ group, keep, id, key }) => [group, keep, id, `"${key.replaceAll('"', '""')}"`].join(","));
    const url = URL.createObjectURL(new Blob([["group,keep,id,key", ...rows, ""].join("\r\n")], { type: "text/csv" }));
    el("a", { href: url, download: `${plan}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  });
  return button;
}

/** Return what the server says as a sentence of the page. */
function sentence(detail) {
  const text = detail[0].toUpperCase() + detail.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
