// Groups of duplicates: the image to keep, then its copies, each with what it is and what a person can say of it.

import { el, icon } from "./elements.js";
import { lookCloser } from "./large_view.js";
import { folderLine, grid, lookTile, nameLine, placeholders } from "./tiles.js";
import { count, folder, KINDS, pixels, score, size } from "./words.js";

const SHOWN_MEMBERS = 15;

/** Return a group as a row of tiles. review: adds what can be said of a copy. */
export function groupRow(collection, { keeper, members }, review) {
  const everyone = [keeper, ...members];
  const list = grid({
    label: "The image to keep, then its copies",
    look: (id) => lookCloser(collection, everyone, id),
    className: "group-tiles",
  });
  const later = members.slice(SHOWN_MEMBERS);
  const tileOf = (member) => review.add(memberTile(collection, member), keeper, member);
  list.append(keeperTile(collection, keeper), ...members.slice(0, SHOWN_MEMBERS).map(tileOf));
  // Images of the same bytes that were sent under several keys share one file, which the keeper may need.
  const files = new Map(members.map((member) => [member.uri, member.bytes]));
  files.delete(keeper.uri);
  const freed = [...files.values()].reduce((sum, bytes) => sum + bytes, 0);
  const row = el(
    "section",
    { class: `group ${width(everyone.length)}` },
    el(
      "header",
      {},
      el("h2", {}, count(members.length, "copy", "copies")),
      el("p", { class: "quiet" }, `${size(freed)} reclaimable`),
    ),
    list,
  );
  if (later.length) row.append(showLater(list, later, tileOf));
  return row;
}

/** Small groups stand side by side. */
function width(images) {
  if (images === 2) return "pair";
  return images <= 4 ? "few" : "";
}

function showLater(list, later, tileOf) {
  const button = el(
    "button",
    { type: "button", class: "button quiet" },
    `Show ${count(later.length, "more copy", "more copies")}`,
  );
  button.addEventListener("click", () => {
    const tiles = later.map(tileOf);
    list.append(...tiles);
    tiles[0].querySelector(".face").focus({ preventScroll: true });
    button.remove();
  });
  return button;
}

function keeperTile(collection, keeper) {
  const tile = lookTile(
    collection,
    keeper,
    ...reasons(keeper.reason),
    nameLine(keeper),
    details(keeper),
  );
  tile.classList.add("keeper");
  tile.prepend(el("span", { class: "badge keep" }, icon("done"), "keep"));
  return tile;
}

/** Return why an image is kept: the first reason, and below it the others, as long as there is room. */
function reasons(text) {
  const [first, ...others] = text.split(", ");
  const more = others.length ? el("p", { class: "details quiet reasons" }, others.join(", ")) : null;
  return [el("p", { class: "facts reason", title: text }, first), more].filter((line) => line !== null);
}

function memberTile(collection, member) {
  const same = member.relation === "identical";
  const badge = el("span", { class: `badge ${member.relation}` }, KINDS[member.kind]);
  const facts = same ? [badge] : [el("span", { class: "score" }, score(member.score)), badge];
  return lookTile(collection, member, el("p", { class: "facts" }, ...facts), nameLine(member), details(member));
}

function details(image) {
  const where = folder(image);
  return el(
    "p",
    { class: "details quiet" },
    `${pixels(image)} · ${size(image.bytes)}`,
    where && folderLine(image),
  );
}

/** Return a row as wide as a group to come, of so many images. */
export function blankGroup(amount) {
  const list = el("ul", { class: "grid group-tiles" }, ...placeholders(amount));
  return el(
    "section",
    { class: "group blank-group", "aria-hidden": "true" },
    el("header", {}, el("span", { class: "blank-line" })),
    list,
  );
}
