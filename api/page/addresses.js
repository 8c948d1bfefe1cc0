// The address of every view: #/, #/search/COLLECTION, #/search/COLLECTION/QUERY?label=tabby&where=width+>+9&box=.1,.1,.5,.5,
// #/browse/COLLECTION?only=width+<+500&where=…, #/map/COLLECTION, #/duplicates/COLLECTION?threshold=0.9, #/status/COLLECTION,
// #/failures/COLLECTION, #/jobs. A query is an image id, the address of a picture, or upload-… for one this page holds.

const VIEWS = new Set(["search", "browse", "map", "duplicates", "status", "jobs", "failures"]);

/** Return {view, collection, query, threshold, label, filter, only, box, unique}; null where the address does not say. */
export function read(hash) {
  const [path, parameters = ""] = hash.replace(/^#\/?/, "").split("?");
  const [view, collection, query] = path.split("/").map(decoded);
  const given = new URLSearchParams(parameters);
  const threshold = Number.parseFloat(given.get("threshold") ?? "");
  const box = (given.get("box") ?? "").split(",").map(Number);
  return {
    view: VIEWS.has(view) ? view : "search",
    collection: collection || null,
    query: (view === "search" && query) || null,
    threshold: Number.isFinite(threshold) ? threshold : null,
    label: given.get("label") || null,
    filter: given.get("where") || null,
    only: given.getAll("only"),
    box: box.length === 4 && box.every((share) => share >= 0 && share <= 1) ? box : null,
    unique: given.get("unique") === "true",
  };
}

/** Return the address of a view. */
export function address(view, collection, query = null) {
  const parts = [view, collection, query].filter((part) => part !== null && part !== undefined);
  return `#/${parts.map(encodeURIComponent).join("/")}`;
}

/** Return the address of a duplicates view; threshold null: the default one. */
export function duplicatesAddress(collection, threshold) {
  return address("duplicates", collection) + (threshold === null ? "" : `?threshold=${threshold}`);
}

/**
 * Return the address of a query's results. label null: whatever they show; filter null: whatever they are; box: the part
 * of the picture, in shares of it, null for all; unique: copies of one another count once.
 */
export function resultsAddress(collection, query, { label = null, filter = null, box = null, unique = false }) {
  const corners = box === null ? null : box.map((share) => Number(share.toFixed(4))).join(",");
  const given = Object.entries({ label, where: filter, box: corners, unique: unique || null });
  return withParameters(address("search", collection, query), given);
}

/** Return the address of a collection's images that fulfil conditions. only: those chosen, filter: the one written. */
export function browseAddress(collection, { only = [], filter = null }) {
  return withParameters(address("browse", collection), [...only.map((one) => ["only", one]), ["where", filter]]);
}

function withParameters(place, entries) {
  const given = entries.filter(([, value]) => value !== null);
  return place + (given.length ? `?${new URLSearchParams(given)}` : "");
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
