// The whole collection as a grid that grows while one scrolls.

import { el } from "./elements.js";
import { lookCloser } from "./large_view.js";
import { announce } from "./notices.js";
import { images } from "./server.js";
import { failed } from "./teaching.js";
import { grid, placeholders, searchTile } from "./tiles.js";
import { count, number } from "./words.js";
import { whenNear } from "./when_near.js";

const PAGE = 48;

/** Show the images of the collection in the order they were indexed. */
export async function showBrowse(view) {
  const { memory, collection } = view;
  const look = (id) => lookCloser(collection.name, memory.images, id);
  const list = grid({ label: "Images in the order they were indexed", look, className: "dense" });
  const note = el("p", { class: "quiet note" }, "\u00a0");
  const foot = el("div", { class: "foot" });
  view.main.replaceChildren(
    el("header", { class: "result-head" }, el("h1", { tabindex: "-1" }, "Browse"), note),
    list,
    foot,
  );

  const add = (items) => {
    list.append(...items.map((image) => searchTile(collection.name, image)));
    const all = count(collection.images, "image");
    note.textContent = `${number(memory.images.length)} of ${all}, in the order they were indexed`;
    foot.replaceChildren(...(memory.cursor === null ? [el("p", { class: "quiet" }, "That is all.")] : [more]));
  };
  const load = async () => {
    list.append(...placeholders(Math.min(PAGE, collection.images - (memory.images?.length ?? 0))));
    try {
      const page = await images(collection.name, { limit: PAGE, cursor: memory.cursor, signal: view.signal });
      memory.images = [...(memory.images ?? []), ...page.items];
      memory.cursor = page.next_cursor;
      add(page.items);
      announce(`${number(memory.images.length)} images shown`);
    } catch (error) {
      if (memory.images === undefined && error.name !== "AbortError")
        foot.replaceChildren(failed("Nothing to show yet", view.again));
      throw error;
    } finally {
      for (const blank of list.querySelectorAll(".blank")) blank.remove();
    }
  };
  const more = whenNear("Show more images", load, view);

  if (memory.images === undefined) await load();
  else add(memory.images);
}
