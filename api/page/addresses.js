// The address of every view: #/, #/search/COLLECTION, #/search/COLLECTION/QUERY?label=tabby&where=width+>+9, #/browse/COLLECTION,
// #/duplicates/COLLECTION?threshold=0.9. A query is an image id, or upload-… for a picture this page holds.

const VIEWS = new Set(["search", "browse", "duplicates"]);

/** Return {view, collection, query, threshold, label, filter}; null where the address does not say. */
export function read(hash) {
  const [path, parameters = ""] = hash.replace(/^#\/?/, "").split("?");
  const [view, collection, query] = path.split("/").map(decoded);
  const given = new URLSearchParams(parameters);
  const threshold = Number.parseFloat(given.get("threshold") ?? "");
  return {
    view: VIEWS.has(view) ? view : "search",
    collection: collection || null,
    query: (view === "search" && query) || null,
    threshold: Number.isFinite(threshold) ? threshold : null,
    label: given.get("label") || null,
    filter: given.get("where") || null,
  };
}

/** Return the address of a view. */
export function address(view, collection, query = null) {
  const parts = [view, collection, query].filter((part) => part !== null);
  return `#/${parts.map(encodeURIComponent).join("/")}`;
}

/** Return the address of a duplicates view; threshold null: the default one. */
export function duplicatesAddress(collection, threshold) {
  return address("duplicates", collection) + (threshold === null ? "" : `?threshold=${threshold}`);
}

/** Return the address of a query's results; label null: whatever they show; filter null: whatever they are. */
export function resultsAddress(collection, query, { label, filter }) {
  const given = Object.entries({ label, where: filter }).filter(([, value]) => value !== null);
  return address("search", collection, query) + (given.length ? `?${new URLSearchParams(given)}` : "");
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
