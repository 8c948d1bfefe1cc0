// Results that the search shall be more like, or less like: two buttons and two keys on each tile, and chips that take them
// back.

import { el, icon } from "./elements.js";
import { announce } from "./notices.js";
import { picture } from "./tiles.js";
import { imageById } from "./server.js";
import { name } from "./words.js";

const MOST = 50; // of each; an address has to hold them
const KINDS = { like: { words: "more like", mark: "plus", keys: ["+", "="] }, unlike: { words: "less like", mark: "minus", keys: ["-"] } };
const THUMBNAIL = 64;

/** wish: returns {like, unlike}, ids as they are chosen; choose: searches with others, done when they are shown. */
export class Examples {
  constructor(view, list, wish, choose) {
    this.view = view;
    this.list = list;
    this.wish = wish;
    this.choose = choose;
    this.names = (view.memory.names ??= new Map());
    this.element = el("div", { class: "examples chips", role: "group", "aria-label": "Examples" });
    list.addEventListener("keydown", (event) => this.key(event));
    this.show();
  }

  /** Whether there are any. */
  get some() {
    const { like, unlike } = this.wish();
    return like.length + unlike.length > 0;
  }

  /** Add the buttons to the tile of a match. */
  add(tile, match) {
    this.names.set(match.id, name(match));
    const button = ([kind, { words, mark, keys }]) => {
      const label = `${words[0].toUpperCase()}${words.slice(1)} this`;
      const attributes = { type: "button", class: "example", tabindex: "-1", "aria-label": `${label}: ${name(match)}`, title: `${label} (${keys[0]})` };
      const made = el("button", attributes, icon(mark));
      made.addEventListener("click", (event) => {
        event.stopPropagation(); // the grid takes a click for a closer look
        this.take(kind, match.id);
      });
      return made;
    };
    tile.append(el("div", { class: "example-buttons" }, ...Object.entries(KINDS).map(button)));
    tile.querySelector(".face").setAttribute("aria-keyshortcuts", "+ -");
  }

  key(event) {
    const tile = event.target.closest(".tile");
    if (!tile?.querySelector(".example") || event.ctrlKey || event.metaKey || event.altKey) return;
    const found = Object.entries(KINDS).find(([, { keys }]) => keys.includes(event.key));
    if (!found) return;
    event.preventDefault();
    this.take(found[0], tile.dataset.id);
  }

  /** Search for more like an image, or less; it is no result then. */
  async take(kind, id) {
    const chosen = this.wish();
    if (chosen[kind].length >= MOST) return announce(`A search takes ${MOST} examples of each kind`);
    const at = [...this.list.children].findIndex((tile) => tile.dataset.id === id);
    await this.change({ [kind]: [...chosen[kind].filter((one) => one !== id), id] });
    // Where the chosen one was, another one is now.
    if (document.activeElement !== document.body) return undefined;
    return this.list.children[Math.min(at, this.list.children.length - 1)]?.querySelector(".face")?.focus({ preventScroll: true });
  }

  change(changed) {
    const { like, unlike } = this.wish();
    const searching = this.choose({ like, unlike, ...changed });
    this.show();
    return searching;
  }

  show() {
    const chips = Object.keys(KINDS).flatMap((kind) => this.wish()[kind].map((id) => this.chip(kind, id)));
    const all = el("button", { type: "button", class: "button quiet small", onclick: () => this.change({ like: [], unlike: [] }) }, "Clear all");
    const hint = el("p", { class: "quiet example-hint" }, "Refine it: ", key("+"), " more like a result, ", key("−"), " less like it");
    this.element.replaceChildren(...(chips.length ? [...chips, chips.length > 1 ? all : ""] : [hint]));
  }

  chip(kind, id) {
    const { words } = KINDS[kind];
    const called = el("bdi", {});
    const chip = el("button", { type: "button", class: `chip ${kind}` }, picture(this.view.collection.name, { id }, THUMBNAIL), el("span", {}, `${words} `, called), icon("close"));
    const say = (text) => {
      called.textContent = text;
      chip.setAttribute("aria-label", `Take away: ${words} ${text}`);
    };
    say(this.names.get(id) ?? `image ${id}`);
    if (!this.names.has(id)) this.learn(id, say).catch(this.view.fail);
    chip.addEventListener("click", () => this.change({ [kind]: this.wish()[kind].filter((one) => one !== id) }));
    return chip;
  }

  async learn(id, say) {
    try {
      this.names.set(id, name(await imageById(this.view.collection.name, id, this.view.signal)));
      say(this.names.get(id));
    } catch (error) {
      if (error.status !== 404) throw error; // the search says that there is no such image
    }
  }
}

function key(text) {
  return el("kbd", {}, text);
}
