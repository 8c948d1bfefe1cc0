// The picture that is searched by, beside its results: what it is, the part of it that counts, another one.

import { BoxDrawing } from "./box_drawing.js";
import { el, icon } from "./elements.js";
import { chooser } from "./pictures.js";
import { noPicture, picture } from "./tiles.js";
import { count, size } from "./words.js";

/** boxed: called with a box in shares of the picture, or null for all of it. */
export class QuerySide {
  constructor(view, query, box, boxed) {
    this.view = view;
    this.query = query;
    this.boxed = boxed;
    this.facts = el("div", { class: "query-facts" });
    this.frame = el("div", { class: "query-picture" }, ...this.preview());
    this.part = el("button", { type: "button", class: "button quiet", hidden: true }, icon("crop"), el("span", {}));
    this.part.addEventListener("click", () => this.drawing.toggle());
    this.element = el(
      "aside",
      { class: "query", "aria-label": "The picture searched for" },
      this.frame,
      el("div", { class: "query-text" }, this.facts, this.part, chooser("Another picture", view.search, "button")),
    );
    this.draw(box);
    if (query.files) this.describeFiles(query.files);
    if (query.url) this.describe(new URL(query.url).pathname.split("/").at(-1) || query.url, new URL(query.url).host);
  }

  /** Say what the picture is, once it is known. */
  describe(title, facts) {
    this.described = true;
    document.title = `${title} · Lookalike`;
    this.facts.replaceChildren(
      el("p", { class: "name", title }, el("bdi", {}, title)),
      el("p", { class: "quiet" }, facts),
    );
  }

  describeFiles(files) {
    const [first] = files;
    const name = first.name || "pasted picture";
    if (files.length === 1) return this.describe(name, size(first.size));
    this.describe(`${name} and ${count(files.length - 1, "more", "more")}`, "Searched for together, as one query");
  }

  preview() {
    const { query } = this;
    if (query.url) return [noPicture("A picture on the web")];
    if (query.id) return [picture(this.view.collection.name, { id: query.id }, 640)];
    return query.urls.map((src, at) => {
      const isImage = query.files[at].type.startsWith("image/");
      const alt = query.urls.length === 1 ? "Your picture" : `Your picture, ${at + 1} of ${query.urls.length}`;
      const shown = el("img", { src, alt, class: "loaded", draggable: "false" });
      shown.addEventListener("error", () => shown.replaceWith(noPicture(isImage ? "No preview of this format" : "No picture")), { once: true });
      return shown;
    });
  }

  /** A part of one picture can be searched for, where the page can show it. */
  draw(box) {
    const images = this.frame.querySelectorAll("img");
    this.frame.classList.toggle("several", images.length > 1);
    if (images.length !== 1) return;
    const [img] = images;
    this.drawing = new BoxDrawing(img, box, (drawn) => {
      this.say(drawn);
      this.boxed(drawn);
    });
    this.frame.append(this.drawing.layer);
    this.part.hidden = false;
    this.say(box);
    img.addEventListener("error", () => {
      this.drawing.layer.remove();
      this.part.hidden = true;
    });
  }

  /** All of the picture is searched for again; whoever calls this searches. */
  clear() {
    if (!this.drawing) return;
    this.drawing.clear();
    this.say(null);
  }

  say(box) {
    this.part.lastChild.textContent = box === null ? "Search a part of it" : "Search all of it";
    this.part.setAttribute("aria-pressed", String(box !== null));
  }
}
