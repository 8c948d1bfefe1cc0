// The groups of a plan: what is kept, and the copies that may go, each where it is by now.

import { el, icon } from "./elements.js";
import { lookCloser } from "./large_view.js";
import { imageById, planById } from "./server.js";
import { goneTile, grid, searchTile } from "./tiles.js";
import { count, KINDS, score, size } from "./words.js";
import { whenNear } from "./when_near.js";

const PLACES = { quarantine: "in quarantine", purged: "deleted", lost: "taken away by somebody" };

/** Return the groups, more of them when they come near the screen. first: a page of the plan, of `limit` groups. */
export function planGroups(view, first, limit) {
  const rows = el("div", { class: "groups" });
  const foot = el("div", { class: "foot" });
  let cursor;
  const add = (page) => {
    cursor = page.next_cursor;
    rows.append(...page.items.map((group) => groupRow(view, group)));
    foot.replaceChildren(...(cursor === null ? [] : [more]));
  };
  const load = async () => add(await planById(view.collection.name, view.plan, { limit, cursor, signal: view.signal }));
  const more = whenNear("Show more groups", load, view);
  add(first);
  return el("section", { class: "plan-groups" }, el("h2", {}, "Its groups"), rows, foot);
}

function groupRow(view, { keeper, members }) {
  const collection = view.collection.name;
  const look = async (id) => {
    const image = await imageById(collection, id, view.signal);
    lookCloser(collection, [image], image.id);
  };
  const list = grid({ label: "The image to keep, then its copies", look: (id) => look(id).catch(view.fail), className: "group-tiles" });
  list.append(kept(collection, keeper), ...members.map((member) => copy(collection, member)));
  const freed = members.reduce((sum, member) => sum + member.bytes, 0);
  const head = el("header", {}, el("h3", {}, count(members.length, "copy", "copies")), el("p", { class: "quiet" }, size(freed)));
  return el("section", { class: `group ${members.length === 1 ? "pair" : members.length <= 3 ? "few" : ""}` }, head, list);
}

function kept(collection, keeper) {
  const tile = searchTile(collection, keeper, el("span", { class: "reason" }, keeper.reason));
  tile.classList.add("keeper");
  tile.prepend(el("span", { class: "badge keep" }, icon("done"), "keep"));
  return tile;
}

function copy(collection, member) {
  const badge = el("span", { class: `badge ${member.relation}` }, KINDS[member.kind]);
  const facts = member.relation === "identical" ? [badge] : [el("span", { class: "score" }, score(member.score)), badge];
  if (member.confirmed) facts.push(el("span", { class: "badge" }, "confirmed"));
  if (member.place !== "home") return goneTile(member, PLACES[member.place], ...facts);
  const tile = searchTile(collection, member, ...facts);
  if (member.why_not) tile.querySelector(".caption").append(el("p", { class: "details quiet" }, `Can only be listed: ${member.why_not}`));
  return tile;
}
