// The filter of images: a condition as in docs/searching.md, completed while one writes it, and errors in place.

import { el } from "./elements.js";

/** Every field, what it is, and a condition that names it (a test compares them with the server's). */
export const FIELDS = [
  ["width", "pixels", "width >= 1000"],
  ["height", "pixels", "height >= 1000"],
  ["bytes", "size of the file", "bytes > 1000000"],
  ["taken_at", "date of the camera", "taken_at >= 2024-03"],
  ["format", "kind of file", 'format in ("png", "webp")'],
  ["path", "place of the file", 'path like "%/holidays/%"'],
  ["uri", "place, percent-encoded", 'uri like "s3://%"'],
  ["key", "your own name", 'key = "A-17"'],
  ["label", "what it shows", 'label = "tabby"'],
  ["metadata.KEY", "what you stored", "metadata.rating >= 4"],
];
const EXAMPLE = 'width >= 1000'; // fits a phone
const WORD = /[a-z_.]+$/i;
const COMPARED = /([a-z_][\w.]*)\s*(?:=|!=|(?:not\s+)?in\s*\([^)]*)\s*("?)([^"]*)$/i;
const WORDS = { number: "a number you stored", text: "a text you stored", date: "a date you stored", flag: "true or false" };
const SHOWN = 12;

/** Tell whether the server refused a condition: at a place of it, or as too large. */
export function isAboutCondition({ position, message }) {
  return position !== undefined || /^where /.test(message);
}

/**
 * A box for a condition. text: at first; changed: called with another condition, or null for none; known: asks the server
 * which fields there are, with frequent values, for completion.
 */
export class FilterBox {
  constructor(text, changed, known) {
    this.changed = changed;
    this.known = known;
    this.fields = FIELDS;
    this.values = {};
    this.sent = text;
    this.picked = -1;
    this.input = el("input", {
      id: "where",
      type: "text",
      value: text ?? "",
      placeholder: EXAMPLE,
      role: "combobox",
      spellcheck: "false",
      autocapitalize: "off",
      autocomplete: "off",
      "aria-autocomplete": "list",
      "aria-controls": "where-fields",
      "aria-expanded": "false",
      "aria-describedby": "where-error where-hint",
    });
    this.list = el("ul", { id: "where-fields", role: "listbox", "aria-label": "Suggestions", hidden: true });
    this.error = el("div", { id: "where-error", role: "alert" });
    this.listen();
    this.element = el(
      "form",
      { class: "filter", onsubmit: (event) => this.submit(event) },
      el("label", { for: "where" }, "Only images where"),
      el("div", { class: "filter-line" }, this.input, el("button", { type: "submit", class: "button" }, "Filter")),
      this.list,
      this.error,
      this.help(),
    );
  }

  /** Show what the server says is wrong, with a caret under its place. before: letters it was sent before what is here. */
  refuse(error, before) {
    const message = error.message.split("\n")[0].replace(/^where, at character \d+: /, "");
    const at = error.position === undefined ? null : error.position - 1 - before;
    this.sent = undefined;
    this.error.replaceChildren(el("p", {}, message));
    this.input.setAttribute("aria-invalid", "true");
    if (at === null) return this.input.focus({ preventScroll: true });
    const letters = [...this.input.value];
    const place = Math.max(0, Math.min(at, letters.length));
    // A caret under a letter needs letters of one width, and a line of its own.
    const drawing = `${letters.join("")}\n${" ".repeat(place)}^`;
    this.error.prepend(el("pre", { "aria-hidden": "true" }, drawing));
    const start = letters.slice(0, place).join("").length;
    this.input.focus({ preventScroll: true });
    this.input.setSelectionRange(start, start);
  }

  /** Take the condition away. */
  clear() {
    this.input.value = "";
    this.sent = null;
    this.accept();
  }

  /** Forget the error: the condition was understood. */
  accept() {
    this.error.replaceChildren();
    this.input.removeAttribute("aria-invalid");
  }

  help() {
    const rows = FIELDS.flatMap(([name, meaning, example]) => [
      el("dt", {}, name),
      el(
        "dd",
        {},
        `${meaning}: `,
        el("button", { type: "button", class: "button quiet", onclick: () => this.use(example) }, example),
      ),
    ]);
    const words = "Join tests with and, or, not and parentheses. Text stands in quotes; a date is 2024, 2024-03 or 2024-03-31.";
    return el(
      "details",
      { id: "where-hint" },
      el("summary", {}, "Fields and examples"),
      el("p", { class: "quiet" }, words),
      el("dl", {}, ...rows),
    );
  }

  /** Put an example behind what is there. */
  use(example) {
    const before = this.input.value.trim();
    this.input.value = before ? `${before} and ${example}` : example;
    this.input.focus();
  }

  submit(event) {
    event.preventDefault();
    this.close();
    const text = this.input.value.trim() || null;
    if (text === this.sent) return;
    this.sent = text;
    this.changed(text);
  }

  listen() {
    this.input.addEventListener("focus", () => this.learn(), { once: true });
    this.input.addEventListener("input", () => {
      this.accept();
      this.suggest();
    });
    this.input.addEventListener("blur", () => this.close());
    this.input.addEventListener("keydown", (event) => this.key(event));
  }

  /** Ask for values to complete, once somebody is about to write. */
  async learn() {
    try {
      const found = await this.known();
      const own = found.filter(({ field }) => field.startsWith("metadata."));
      this.fields = [...FIELDS, ...own.map(({ field, type }) => [field, WORDS[type] ?? "what you stored"])];
      for (const { field, values } of found) this.values[field] = values.filter((value) => typeof value === "string");
    } catch {
      // Completion is a help: whatever is wrong is told by the search itself.
    }
  }

  /** List what the text before the caret can go on with: values of a field behind a comparison, else fields. */
  suggest() {
    const before = this.input.value.slice(0, this.input.selectionStart);
    const offers = this.valuesFor(before) ?? this.names();
    this.picked = -1;
    this.list.replaceChildren(...offers.slice(0, SHOWN).map((offer, at) => this.option(offer, at)));
    this.show(offers.length > 0);
  }

  /** Return the fields that begin with the word before the caret, as {text, about, written, length}. */
  names() {
    const word = this.word();
    if (word === "") return [];
    const found = this.fields.filter(([field]) => field.startsWith(word.toLowerCase()) && field !== word);
    return found.map(([field, about]) => ({
      text: field,
      about,
      written: field.replace("KEY", ""),
      length: word.length,
    }));
  }

  /** Return the values of the field that is compared before the caret; null where none is, or it has no known ones. */
  valuesFor(before) {
    const compared = COMPARED.exec(before);
    if (compared === null) return null;
    const [, name, quote, begun] = compared;
    const known = this.values[name.toLowerCase()] ?? [];
    const found = known.filter((value) => begins(value, begun));
    if (!found.length) return null;
    return found.map((value) => ({
      text: value,
      about: "",
      written: `"${value.replaceAll('"', '""')}"`,
      length: quote.length + begun.length,
    }));
  }

  option({ text, about, written, length }, at) {
    const row = el(
      "li",
      { id: `where-field-${at}`, role: "option", "aria-selected": "false", "data-name": text },
      el("code", {}, text),
      ` ${about}`,
    );
    row.take = () => this.take(written, length);
    // Before the blur that a click would cause.
    row.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      row.take();
    });
    return row;
  }

  /** The word that ends at the caret, "" inside a text in quotes. */
  word() {
    const before = this.input.value.slice(0, this.input.selectionStart);
    const outside = before.replace(/"[^"]*"|'[^']*'/g, "");
    return /["']/.test(outside) ? "" : (WORD.exec(before)?.[0] ?? "");
  }

  key(event) {
    const open = !this.list.hidden;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (open && step) this.pick(this.picked + step);
    else if (open && event.key === "Escape") this.close();
    else if (open && this.picked >= 0 && ["Enter", "Tab"].includes(event.key))
      this.list.children[this.picked].take();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  pick(at) {
    const rows = [...this.list.children];
    this.picked = (at + rows.length) % rows.length;
    for (const [place, row] of rows.entries()) row.setAttribute("aria-selected", String(place === this.picked));
    this.input.setAttribute("aria-activedescendant", rows[this.picked].id);
  }

  /** Write something in the place of what was begun before the caret. */
  take(written, length) {
    const caret = this.input.selectionStart;
    this.input.setRangeText(written, caret - length, caret, "end");
    this.close();
  }

  show(open) {
    this.list.hidden = !open;
    this.input.setAttribute("aria-expanded", String(open));
    this.input.removeAttribute("aria-activedescendant");
  }

  close() {
    this.picked = -1;
    this.show(false);
  }
}

function begins(value, begun) {
  return value.toLowerCase().startsWith(begun.trim().toLowerCase()) && value !== begun;
}
