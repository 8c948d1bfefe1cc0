// What the page knows of the server: its collections with their counts, and what it allows this page.

import { collections, keyFacts } from "./server.js";

const FRESH_MS = 5000;

/** may: as keyFacts; null before the first answer. ready: whether searches are answered, as far as somebody asked. */
export const known = { collections: [], at: -Infinity, ready: false, may: null };

/** Ask for the collections, unless that was done a moment ago. */
export async function refresh(signal) {
  if (performance.now() - known.at < FRESH_MS) return;
  [known.collections, known.may] = await Promise.all([collections(signal), known.may ?? keyFacts(signal)]);
  known.at = performance.now();
}

/** Ask anew the next time, also for what is allowed. */
export function forget() {
  known.at = -Infinity;
  known.may = null;
}

/** Return the collection that an address is about; undefined where there is none. */
export function collectionOf(where) {
  return known.collections.find((one) => one.name === (where.collection ?? home()));
}

/** Return the name of the collection that #/ means. */
export function home() {
  return (known.collections.find((one) => one.name === "default") ?? known.collections[0])?.name;
}
