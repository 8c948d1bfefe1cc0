// How plans and what was done by them read on the page.

import { count, moment, number, score, size } from "./words.js";

export const STATES = { planned: "ready", expired: "expired", applied: "applied", purged: "purged", undone: "undone" };

/** What each action does, {title, words}; `done` and `would` are the verb of what became of copies. */
export const ACTIONS = {
  quarantine: {
    title: "Move into quarantine",
    words: "Copies move into a folder of their own beside your pictures, on the same disk. Undo brings back every byte.",
    done: "moved into quarantine",
    button: (copies) => `Move ${copies} into quarantine`,
  },
  hardlink: {
    title: "Replace by hard links",
    words: "Of the same bytes only: the copy stays at its path and shares the data of what is kept. An edit of one then changes both.",
    done: "replaced by hard links",
    button: (copies) => `Replace ${copies} by hard links`,
  },
  reflink: {
    title: "Replace by clones",
    words: "As links, but later edits stay apart. Needs a file system that can clone, such as Btrfs or XFS.",
    done: "replaced by clones",
    button: (copies) => `Replace ${copies} by clones`,
  },
  list: {
    title: "Only list",
    words: "No file is touched. Also for what cannot be moved: members of archives, and objects on S3.",
    done: "listed",
    button: (copies) => `List ${copies}`,
  },
};

const LEFT = {
  near: "that nobody confirmed: review them, or include near copies",
  review: "in groups of more than 50, to be looked at first: confirm them in the review, or include near copies",
  elsewhere: "in archives, on object storage, gone or changed: they can only be listed",
  uploaded: "sent to the server, in its store: to be removed as images, which takes their files away",
  verdict: "to stay, as people have said",
  other_bytes: "with other bytes than what is kept, which a link would change: quarantine moves them",
  linked: "that share the data of what is kept already",
  alias: "under another path of a file of the plan",
  protected: "in protected folders",
  keeper: "of images in archives or on S3, or sent to the server alone: they can only be listed",
};

/** Return why copies stay, a line for each reason. left: how many, by reason. */
export function leftLines(left) {
  const stay = Object.entries(LEFT).filter(([why]) => left[why]);
  const lines = stay.map(([why, words]) => `${count(left[why], "copy stays", "copies stay")} ${words}`);
  return left.done ? [...lines, count(left.done, "copy went before", "copies went before")] : lines;
}

/** Return "4 copies of 3 groups (1.2 MiB)". */
export function amount({ files, groups, bytes }) {
  return `${count(files, "copy", "copies")} of ${count(groups, "group")} (${size(bytes)})`;
}

/** Return what became of a plan, as a sentence. */
export function fate({ state, action, acted_at: at, quarantined, purged, expires_at: expires }) {
  const acted = at === null ? "" : ` on ${moment(at)}`;
  const gone = purged ? `; ${number(purged)} of before ${purged === 1 ? "was" : "were"} deleted for good` : "";
  if (state === "planned") return `Nothing was done by it. It may be applied until ${moment(expires)}.`;
  if (state === "expired") return `Nothing was done by it, and it has expired on ${moment(expires)}.`;
  if (state === "undone") return `All of it was undone${acted}.`;
  if (state === "purged") return `${count(purged, "copy was", "copies were")} deleted for good${acted}.`;
  const linked = action === "quarantine" ? "lie in quarantine" : "are replaced; what they were lies in quarantine";
  const one = action === "quarantine" ? "lies in quarantine" : "is replaced; what it was lies in quarantine";
  return `Applied${acted}: ${count(quarantined, `copy ${one}`, `copies ${linked}`)}${gone}.`;
}

/** Return where a plan's threshold comes from. */
export function surety({ threshold, threshold_source: source }) {
  const from = { calibrated: "calibrated", user: "chosen" }[source] ?? "usual";
  return `${score(threshold)}, ${from}`;
}

/** Return what came of a job that acted on a plan: {title, lines, skipped: [{path, reason}], bad}. */
export function outcome({ kind, request, result }) {
  return { apply: applied, undo: undone, purge: purgedBy }[kind](result, request);
}

function applied(result) {
  const { done } = ACTIONS[result.action];
  if (result.action === "list")
    return { title: `${amount(result)} can go`, lines: ["No file was touched."], left: leftLines(result.left), skipped: [] };
  const would = result.dry_run ? "would be " : "";
  const title = result.files ? `${amount(result)} ${would}${done}` : `Nothing ${result.dry_run ? "would be" : "was"} ${done}`;
  const lines = result.sidecars ? [`${count(result.sidecars, "sidecar")} beside them ${result.dry_run ? "would go" : "went"} with them.`] : [];
  for (const place of result.quarantines) lines.push(`Quarantine: ${place}`);
  for (const note of result.notes) lines.push(`Not known before: ${note}`);
  return { title, lines, left: leftLines(result.left), skipped: result.skipped };
}

function undone(result) {
  const back = result.dry_run ? "would be brought back" : "brought back";
  const files = `${count(result.files, "file")} (${size(result.bytes)}) ${back}`;
  const lines = result.sidecars ? [`${count(result.sidecars, "sidecar")} with them.`] : [];
  if (result.recalled) lines.push(`Searches find ${count(result.recalled, "image")} again.`);
  if (result.to_index) lines.push(`${count(result.to_index, "image is", "images are")} not in the catalogue any more: index their folders again.`);
  if (result.purged) lines.push(`${count(result.purged, "file was", "files were")} deleted for good before, and cannot come back.`);
  return { title: result.files ? files : "There was nothing to bring back", lines, left: [], skipped: result.skipped };
}

function purgedBy(result) {
  const verb = result.dry_run ? "would be deleted for good" : "deleted for good";
  const title = result.files ? `${count(result.files, "file")} (${size(result.bytes)}) ${verb}` : `Nothing ${verb}`;
  const lines = result.young ? [`${count(result.young, "file was", "files were")} moved too lately.`] : [];
  return { title, lines, left: [], skipped: result.kept };
}
