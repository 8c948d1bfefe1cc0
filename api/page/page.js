// The page: which view shows, what is remembered for Back, which collection it is about, and what happens on errors.

import { address, read, withoutLook } from "./addresses.js";
import { drawBar, viewAddress } from "./bar.js";
import { showBrowse } from "./browse_view.js";
import { showDuplicates } from "./duplicates_view.js";
import { showFailures } from "./failures_view.js";
import { showJobs } from "./jobs_view.js";
import { el } from "./elements.js";
import { hasKey, useKey } from "./keys.js";
import { keyView } from "./key_view.js";
import { collectionOf, forget, home, known, refresh } from "./known.js";
import { closeLargeView, lookAsAddressed } from "./large_view.js";
import { showMap } from "./map_view.js";
import { showPlans } from "./plans_view.js";
import { announce, clearNotices, notice } from "./notices.js";
import { acceptPictures, chooser, focusChooser, isPicture, isReadable, isWeb, keep } from "./pictures.js";
import { themeSwitch } from "./theme_switch.js";
import { alive, notReady, ServerGone } from "./server.js";
import { statusHead } from "./status_head.js";
import { showStatus } from "./status_view.js";
import { showSearch } from "./search_view.js";
import { emptyCollection, emptyStore, failed, nowhere, panel, waiting } from "./teaching.js";
import { focusTile } from "./tiles.js";
import { number } from "./words.js";

const SHOWS = { search: showSearch, browse: showBrowse, map: showMap, duplicates: showDuplicates, plans: showPlans, status: showStatus, jobs: showJobs, failures: showFailures };
const TITLES = { search: "Search", browse: "Browse", map: "Map", duplicates: "Duplicates", plans: "Plans", status: "Status", jobs: "Jobs", failures: "Failures", nowhere: "No such view" };
const WITHOUT_IMAGES = new Set(["plans", "status", "jobs", "failures"]);
const ASK_AGAIN_MS = 500;
const PATIENCE_MS = 15000;
const MEMORIES = 30;
const MOST_PICTURES = 8; // of one query

const main = document.getElementById("main");
const memories = new Map();
let current = null;

/** Show the view of the address. A place visited before shows what it showed then, scrolled as it was. */
async function arrive() {
  const entry = history.state?.entry;
  const hash = withoutLook(location.hash);
  if (current && entry === current.entry && hash === current.hash) return look(current).catch(fail);
  leave();
  clearNotices(); // of what was there before
  const again = memories.has(entry);
  const memory = again ? memories.get(entry) : {};
  current = { entry: again ? entry : remember(memory), hash, memory, leaving: new AbortController() };
  closeLargeView();
  await show(current, again);
}

function leave() {
  if (current === null) return;
  keepPlace(current.memory);
  current.leaving.abort();
}

function keepPlace(memory) {
  memory.scroll = scrollY;
  memory.focus = document.activeElement?.closest(".tile")?.dataset.id;
}

/**
 * A person changed what a view shows: that has an address of its own, so that Back takes the change back. Return what the
 * view is to remember from now on; what it remembered so far stays with the place before.
 */
function step(visit, place) {
  if (place === visit.hash) {
    for (const part of Object.keys(visit.memory)) delete visit.memory[part];
    return visit.memory;
  }
  keepPlace(visit.memory);
  visit.memory = {};
  history.pushState(null, "", place);
  visit.hash = place;
  visit.entry = remember(visit.memory);
  return visit.memory;
}

/** Show or close the closer look that the address names. */
async function look(visit) {
  const collection = collectionOf(read(visit.hash));
  if (collection) await lookAsAddressed(collection.name, visit.leaving.signal);
}

function remember(memory) {
  const entry = `${Date.now()}-${Math.random()}`;
  history.replaceState({ entry }, "");
  memories.set(entry, memory);
  if (memories.size > MEMORIES) memories.delete(memories.keys().next().value);
  return entry;
}

async function show(visit, again) {
  const { signal } = visit.leaving;
  const shown = again && visit.memory.scroll !== undefined;
  try {
    const refreshed = refresh(signal);
    // Known counts will do at first, so that Back waits for nothing.
    if (known.at === -Infinity) await refreshed;
    const where = read(visit.hash);
    refreshed.then(() => visit === current && drawBar(where), fail);
    drawBar(where);
    document.title = `${TITLES[where.view]} · Lookalike`;
    const drawing = draw(viewOf(visit, where), where);
    // What is remembered is on screen already, without waiting for anything.
    if (shown) settle(visit.memory);
    else start();
    await drawing;
    if (shown) settle(visit.memory);
    else if (document.activeElement === document.body) focusHeading(); // what stood there meanwhile had it
    await look(visit);
  } catch (error) {
    fail(error);
    if (error.name === "AbortError" || locked()) return;
    const blanks = [...main.querySelectorAll(".blank-card, .blank-group, .blank, .blank-line")];
    for (const blank of blanks) blank.remove(); // nothing is on its way any more
    if (main.hasChildNodes() && (!blanks.length || main.querySelector(".teach"))) return;
    main.append(failed("Nothing to show yet", reload, error));
  }
}

async function draw(view, where) {
  if (!known.collections.length) return drawEmpty(view, where);
  if (where.view === "nowhere") return main.replaceChildren(nowhere(where.asked, (name) => viewAddress(name, home())));
  if (!view.collection) {
    const back = el("a", { class: "button", href: "#/" }, `Go to ${home()}`);
    return main.replaceChildren(
      panel("No such collection", el("p", {}, `The store has no collection named ${where.collection}.`), back),
    );
  }
  if (!view.collection.images && !WITHOUT_IMAGES.has(where.view)) return waitForImages(view.signal, emptyCollection(view.collection));
  // Searching from a stored image needs no backbone, and so no waiting.
  const stored = where.query !== null && !isPicture(where.query) && !isWeb(where.query) && where.box === null;
  if (where.view === "search" && !stored) await untilReady(view.signal);
  return SHOWS[where.view](view);
}

/** An empty store has jobs already, such as a first import, and a status: that there is nothing yet. */
async function drawEmpty(view, where) {
  const collection = { name: where.collection ?? "default", images: 0, searchable: 0, failed: 0 };
  const inside = { ...view, collection };
  if (where.view === "jobs") return showJobs(inside);
  const head = where.view === "status" ? statusHead(inside, "status", "Status") : [];
  return waitForImages(view.signal, ...head, emptyStore());
}

/** What a view gets to work with: what its address says, and more. memory is its own, and comes back with Back; see step. */
function viewOf(visit, where) {
  return {
    ...where,
    main,
    collection: collectionOf(where),
    memory: visit.memory,
    step: (place) => step(visit, place),
    signal: visit.leaving.signal,
    changed: () => recount(visit, where),
    search,
    searchAddress: known.may?.urls ? searchAddress : null,
    fail,
    again: reload,
  };
}

function start() {
  scrollTo(0, 0);
  focusHeading();
}

function focusHeading() {
  if (document.activeElement === document.body || !document.activeElement?.closest(".bar, dialog")) {
    (main.querySelector("h1") ?? main).focus({ preventScroll: true });
  }
}

function settle(memory) {
  scrollTo(0, memory.scroll);
  if (!memory.focus || !focusTile(main, memory.focus)) focusHeading();
}

/** Search for these files, as one query, in the collection on screen. */
async function search(files) {
  for (const file of files) {
    if (await isReadable(file)) continue;
    const text = `${file.name} cannot be read. A folder cannot be searched for; choose pictures.`;
    notice(text, { title: "Not a file" });
    return;
  }
  const few = `A search takes ${MOST_PICTURES} pictures: these are the first of ${number(files.length)}.`;
  await searchFor(() => keep(files.slice(0, MOST_PICTURES)), files.length > MOST_PICTURES ? few : null);
}

/** Search for the picture at this address of the web. */
function searchAddress(url) {
  if (known.may?.urls !== false) return searchFor(() => url);
  notice("This server fetches no pictures from the web; its owner allows it with serve --allow-url. Save the picture, and drop it here.", { kind: "hint" });
}

/** Search. query: called for what it is by; hint: what people should know of it, or null. */
async function searchFor(query, hint = null) {
  if (locked()) {
    notice("The server wants a key first.", { kind: "hint" });
    return;
  }
  const collection = read(location.hash).collection ?? home();
  if (collection === undefined) {
    notice("There is nothing to search in yet: index some pictures first.", { kind: "hint" });
    return;
  }
  history.pushState(null, "", address("search", collection, query()));
  const arriving = arrive();
  if (hint !== null) notice(hint, { kind: "hint" });
  await arriving;
}

function reload() {
  if (current === null) return;
  leave();
  clearNotices();
  current.leaving = new AbortController();
  current.hash = withoutLook(location.hash);
  forget(); // another key, or another server, may show and allow other things
  show(current, true);
}

function fail(error) {
  if (error.name === "AbortError") return;
  if (error.status === 401) return askForKey(hasKey() ? error.message : null);
  const gone = error instanceof ServerGone;
  const banner = notice(error.message, { title: gone ? "Server gone" : error.title });
  announce("");
  if (gone) untilBack(banner);
  else if (error.status === undefined) throw error;
}

/** Show nothing but the wish for a key. why: what is wrong with the one there was. */
function askForKey(why) {
  if (locked()) return;
  leave();
  useKey(null);
  known.at = -Infinity;
  known.collections = [];
  closeLargeView();
  clearNotices();
  announce("");
  drawBar(read(location.hash));
  document.title = "Key · Lookalike";
  main.replaceChildren(keyView(why, reload));
  main.querySelector("#key").focus({ preventScroll: true });
}

function locked() {
  return main.querySelector("#key") !== null;
}

let waitingForServer = false;
async function untilBack(dismiss) {
  if (waitingForServer) return;
  waitingForServer = true;
  while (!(await alive())) await pause(ASK_AGAIN_MS);
  waitingForServer = false;
  known.ready = false;
  dismiss();
  clearNotices();
  reload();
}

async function untilReady(signal) {
  const began = performance.now();
  const panel = waiting(() => (known.ready = true));
  while (!known.ready) {
    const reason = await notReady(signal);
    if (reason === null) break;
    if (!main.contains(panel.element)) main.replaceChildren(panel.element);
    panel.update(reason, performance.now() - began > PATIENCE_MS);
    await pause(ASK_AGAIN_MS);
    signal.throwIfAborted();
  }
  known.ready = true;
}

async function waitForImages(signal, ...teaching) {
  main.replaceChildren(...teaching);
  const before = JSON.stringify(known.collections);
  while (JSON.stringify(known.collections) === before) {
    await pause(3 * ASK_AGAIN_MS);
    known.at = -Infinity;
    await refresh(signal);
  }
  reload();
}

/** Something was moved, or came back: forget what other views remember, and show how many images there are by now. */
async function recount(visit, where) {
  for (const entry of memories.keys()) if (entry !== visit.entry) memories.delete(entry);
  known.at = -Infinity;
  await refresh(visit.leaving.signal);
  if (visit === current) drawBar(where);
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

history.scrollRestoration = "manual";
addEventListener("popstate", arrive);
addEventListener("hashchange", arrive);
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  (main.querySelector(".grid .face") ?? main).focus();
});
document.getElementById("collection").addEventListener("change", (event) => {
  location.hash = viewAddress(read(location.hash).view, event.target.value);
});
document.getElementById("bar-choose").append(chooser("Search by picture", search, "button"));
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || document.querySelector("dialog[open]")) return;
  if (event.target.matches("input:not([type=file]), textarea")) return;
  event.preventDefault();
  focusChooser();
});
document.getElementById("forget").addEventListener("click", () => {
  useKey(null);
  memories.clear();
  reload();
});
document.getElementById("theme").append(themeSwitch());
acceptPictures({ found: search, address: searchAddress, refused: (text) => notice(text, { kind: "hint" }) });
arrive();
