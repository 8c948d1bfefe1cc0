// The address of every view: #/, #/search/COLLECTION, #/search/COLLECTION/QUERY?label=tabby&where=width+>+9&box=.1,.1,.5,.5
// &like=3,5&unlike=9, #/browse/COLLECTION?only=width+<+500&where=…, #/map/COLLECTION,
// #/duplicates/COLLECTION?threshold=0.9&kind=resized&reviewed=false, #/plans/COLLECTION, #/plans/COLLECTION/PLAN,
// #/status/COLLECTION, #/failures/COLLECTION, #/jobs/COLLECTION. A query is an image id, the address of a picture, or
// upload-… for one this page holds. Behind any of them, look=ID opens the closer look at an image.

const VIEWS = new Set(["search", "browse", "map", "duplicates", "plans", "status", "jobs", "failures"]);
const START = "search";
const ID = /^\d{1,16}$/;
const LOOK = /[?&]look=(\d{1,16})$/;

/**
 * Return {view, asked, collection, query, plan, threshold, kind, open, label, filter, only, box, unique, like, unlike}; null where
 * the address does not say. view: "nowhere" where there is no such one as asked; open: only copies that nobody has said
 * anything of.
 */
export function read(hash) {
  const [path, parameters = ""] = withoutLook(hash).replace(/^#\/?/, "").split("?");
  const [view, collection, named] = path.split("/").map(decoded);
  const given = new URLSearchParams(parameters);
  const threshold = Number.parseFloat(given.get("threshold") ?? "");
  const box = (given.get("box") ?? "").split(",").map(Number);
  const ids = (name) => (given.get(name) ?? "").split(",").filter((id) => ID.test(id));
  return {
    view: VIEWS.has(view) ? view : view ? "nowhere" : START,
    asked: view,
    collection: collection || null,
    query: (view === "search" && named) || null,
    plan: (view === "plans" && named) || null,
    threshold: Number.isFinite(threshold) ? threshold : null,
    kind: given.get("kind") || null,
    open: given.get("reviewed") === "false",
    label: given.get("label") || null,
    filter: given.get("where") || null,
    only: given.getAll("only"),
    box: box.length === 4 && box.every((share) => share >= 0 && share <= 1) ? box : null,
    unique: given.get("unique") === "true",
    like: ids("like"),
    unlike: ids("unlike"),
  };
}

/** Return the address of a view. */
export function address(view, collection, query = null) {
  const parts = [view, collection, query].filter((part) => part !== null && part !== undefined);
  return `#/${parts.map(encodeURIComponent).join("/")}`;
}

/** Return the address of a duplicates view. threshold, kind null: the default one, all; open: those nobody has reviewed. */
export function duplicatesAddress(collection, { threshold = null, kind = null, open = false }) {
  const given = Object.entries({ threshold, kind, reviewed: open ? false : null });
  return withParameters(address("duplicates", collection), given);
}

/**
 * Return the address of a query's results. label null: whatever they show; filter null: whatever they are; box: the part
 * of the picture, in shares of it, null for all; unique: copies of one another count once; like, unlike: ids of examples.
 */
export function resultsAddress(collection, query, { label = null, filter = null, box = null, unique = false, like = [], unlike = [] }) {
  const corners = box === null ? null : box.map((share) => Number(share.toFixed(4))).join(",");
  const examples = { like: like.join(",") || null, unlike: unlike.join(",") || null };
  const given = Object.entries({ label, where: filter, box: corners, unique: unique || null, ...examples });
  return withParameters(address("search", collection, query), given);
}

/** Return the address of a collection's images that fulfil conditions. only: those chosen, filter: the one written. */
export function browseAddress(collection, { only = [], filter = null }) {
  return withParameters(address("browse", collection), [...only.map((one) => ["only", one]), ["where", filter]]);
}

/** Return the address of the view alone, without the closer look before it. */
export function withoutLook(hash) {
  return hash.replace(LOOK, "") || "#/";
}

/** Return the address of a view with the closer look at an image before it. */
export function withLook(hash, id) {
  const place = withoutLook(hash);
  return `${place}${place.includes("?") ? "&" : "?"}look=${id}`;
}

/** Return the id of the image that an address looks closer at, null for none. */
export function lookOf(hash) {
  return LOOK.exec(hash)?.[1] ?? null;
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
