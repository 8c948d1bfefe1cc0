// Conditions of docs/searching.md as the page joins them, and how those that facets choose read.

const SIZE = /^(?:\(width >= (\d+) or height >= \d+\))?(?: and )?(?:width < (\d+) and height < \d+)?$/;
const LIKE = /^(?:path|uri) like "((?:[^"]|"")*)%"( and not .*)?$/;
const MONTHS = new Intl.DateTimeFormat("en-US", { month: "long", year: "numeric", timeZone: "UTC" });

/** Return one condition of those chosen and the one that was written, null where there is none. */
export function joined(only, filter) {
  const tests = [...only, ...(filter === null ? [] : [filter])];
  if (tests.length < 2) return tests[0] ?? null;
  // The written one comes first, so that the place of its error is known (see beforeFilter).
  return [...(filter === null ? [] : [filter]), ...only].map((test) => `(${test})`).join(" and ");
}

/** How many letters stand before the written condition in a joined one. */
export function beforeFilter(only) {
  return only.length ? 1 : 0;
}

/** Tell whether what is wrong with a joined condition is in the written one. */
export function isInFilter({ position }, only, filter) {
  if (filter === null || position === undefined) return filter !== null;
  return position - 1 - beforeFilter(only) <= [...filter].length;
}

/** Return the condition that an image has a label. */
export function labelled(label) {
  return `label = "${label.replaceAll('"', '""')}"`;
}

/** Return a condition of a facet as people call it: "tabby", "March 2024", "500 to 999 pixels". */
export function named(where) {
  const label = /^label = "((?:[^"]|"")*)"$/.exec(where);
  if (label) return label[1].replaceAll('""', '"').split(",")[0];
  const month = /^taken_at = (\d{4}-\d\d)$/.exec(where);
  if (month) return monthName(month[1]);
  const folder = LIKE.exec(where);
  if (folder) return folderName(folder);
  const size = SIZE.exec(where);
  if (size && (size[1] || size[2])) return sizeName(size);
  return where;
}

/** Return "March 2024" of "2024-03". */
export function monthName(month) {
  const date = new Date(`${month}-01T00:00:00Z`);
  return Number.isNaN(date.getTime()) ? month : MONTHS.format(date);
}

/** Return how a class of sizes reads, of its name: "under 500 pixels". */
export function pixelsNamed(value) {
  return `${value.replace(" to ", "–").replace(/\d+/g, (digits) => Number(digits).toLocaleString("en-US"))} px`;
}

function sizeName([, least, most]) {
  if (!least) return pixelsNamed(`under ${most}`);
  return pixelsNamed(most ? `${least} to ${most - 1}` : `${least} and more`);
}

function folderName([, pattern, alone]) {
  const place = pattern.replaceAll('""', '"').replace(/\\(.)/g, "$1").replace(/\/$/, "");
  const name = place.split("/").at(-1) || "/";
  return alone ? `${name} itself` : name;
}
