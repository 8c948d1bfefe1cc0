// How jobs read on the page.

import { el } from "./elements.js";
import { outcome } from "./plan_words.js";
import { count, moment, number, size } from "./words.js";

const KINDS = { import: "Import", dedup: "Look for duplicates", apply: "Apply a plan", undo: "Undo a plan", purge: "Purge" };
const STATES = { queued: "waiting", running: "running", done: "done", failed: "failed", cancelled: "cancelled" };
const OF_PLANS = new Set(["apply", "undo", "purge"]); // which tell in bytes how far they are

/** Tell whether a job acts on a plan, which its request names. */
export function actsOnPlan(job) {
  return OF_PLANS.has(job.kind);
}

/** Return what a job does. */
export function kindOf(job) {
  return KINDS[job.kind] ?? job.kind;
}

/** Return the state of a job as a badge. */
export function stateBadge(job) {
  return el("span", { class: `badge state-${job.state}` }, STATES[job.state] ?? job.state);
}

/** Return how far a job is, as one line. */
export function progressLine({ kind, state, progress }) {
  if (state === "queued") return "Waiting for other jobs of the server";
  if (progress === null) return state === "running" ? "Begins" : "";
  const far = OF_PLANS.has(kind) ? size : number;
  const of = progress.total === null ? far(progress.done) : `${far(progress.done)} of ${far(progress.total)}`;
  const left = progress.left_s === null ? "" : `, ${duration(progress.left_s)} left`;
  return `${of} ${progress.stage}${left}`;
}

/** Return a bar of how far a job is; without a value while nobody knows. */
export function progressBar({ progress }, label) {
  const bar = el("progress", { max: "1", "aria-label": label });
  if (progress?.total) bar.value = progress.done / progress.total;
  return bar;
}

/** Return what came of a job in a few words; null where there is nothing to say. */
export function resultLine(job) {
  const { kind, state, result, problem } = job;
  if (problem) return problem.detail;
  if (state === "cancelled") return "Ended by somebody; what it did until then stays.";
  if (result === null) return null;
  if (OF_PLANS.has(kind)) return outcome(job).title;
  if (kind === "import") return imported(result);
  if ("groups" in result) {
    const copies = result.members === undefined ? "" : `, ${count(result.members, "copy", "copies")}`;
    return `${count(result.groups, "group")}${copies}${result.bytes === undefined ? "" : `, ${size(result.bytes)} reclaimable`}`;
  }
  const told = Object.entries(result).filter(([, value]) => typeof value === "number");
  return told.map(([name, value]) => `${name.replaceAll("_", " ")}: ${number(value)}`).join(" · ") || null;
}

/** Return what an import did with files of the server's machine, and with pictures that it took in one by one. */
function imported({ index = {}, outcomes = {}, notes = [] }) {
  const done = ["indexed", "unchanged", "moved", "failed"].filter((name) => index[name]).map((name) => [name, index[name]]);
  const words = [...done, ...Object.entries(outcomes)].map(([name, files]) => `${number(files)} ${name}`);
  if (index.ignored) words.push(`no images, ignored: ${number(index.ignored)}`);
  return [words.join(" · ") || "Nothing was there to take in", ...notes].join(". ");
}

/** Return how telling somebody of a job's end went; null where nobody is to be told. */
export function webhookLine({ webhook, webhook_delivery: delivery }) {
  if (!webhook) return null;
  const host = URL.canParse(webhook) ? new URL(webhook).host : webhook;
  if (!delivery) return `${host} will be told`;
  if (delivery.state === "delivered") return `${host} was told`;
  const why = delivery.problem ? `: ${delivery.problem.detail}` : "";
  if (delivery.state === "failed") return `${host} could not be told${why}`;
  return delivery.attempts ? `${host} was not told yet, next at ${moment(delivery.next_at)}${why}` : `${host} is being told`;
}

/** Return "4 min" of 240 seconds. */
export function duration(seconds) {
  if (seconds < 1) return "under a second";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 360) / 10} h`;
}
