// Files that could not be indexed, and why: the ledger of a collection.

import { command, el } from "./elements.js";
import { failures } from "./server.js";
import { statusHead } from "./status_head.js";
import { panel } from "./teaching.js";
import { count, number } from "./words.js";
import { whenNear } from "./when_near.js";

const PAGE = 100;

/** Show the failures of the collection. */
export async function showFailures(view) {
  const shown = new Ledger(view);
  if (view.memory.page) shown.draw(view.memory.page.items);
  else await shown.load();
}

class Ledger {
  constructor(view) {
    this.view = view;
    this.reason = view.memory.reason ?? null;
    this.reasons = el("div", { class: "chips", role: "group", "aria-label": "Reasons" });
    this.list = el("ul", { class: "ledger", role: "list", "aria-label": "Files that could not be indexed" });
    this.foot = el("div", { class: "foot" });
    view.main.replaceChildren(...statusHead(view, "failures", "Failures"), this.reasons, this.list, this.foot);
  }

  async load() {
    const { view, reason } = this;
    const before = view.memory.page;
    const cursor = before?.next_cursor ?? null;
    const page = await failures(view.collection.name, { reason, limit: PAGE, cursor, signal: view.signal });
    if (reason !== this.reason) return;
    view.memory.page = { ...page, items: [...(before?.items ?? []), ...page.items] };
    this.draw(page.items);
  }

  draw(items) {
    const { page } = this.view.memory;
    this.list.append(...items.map(row));
    this.reasons.replaceChildren(...this.choices(page.reasons));
    if (!Object.keys(page.reasons).length) this.foot.replaceChildren(nothing());
    else if (page.next_cursor !== null) this.foot.replaceChildren(whenNear("Show more files", () => this.load(), this.view));
    else this.foot.replaceChildren(retrying(this.view.collection, this.reason));
  }

  choices(reasons) {
    return Object.entries(reasons).map(([reason, files]) =>
      el(
        "button",
        {
          type: "button",
          class: "chip",
          "aria-pressed": String(reason === this.reason),
          onclick: () => this.choose(reason === this.reason ? null : reason),
        },
        `${words(reason)} `,
        el("span", { class: "quiet" }, number(files)),
      ),
    );
  }

  async choose(reason) {
    this.reason = reason;
    this.view.memory.reason = reason;
    delete this.view.memory.page;
    this.list.replaceChildren();
    try {
      await this.load();
    } catch (error) {
      this.view.fail(error);
    }
    [...this.reasons.children].find((chip) => chip.ariaPressed === "true")?.focus();
  }
}

function row({ uri, reason, detail, attempts }) {
  const place = decoded(uri);
  const name = place.split("/").at(-1);
  return el(
    "li",
    {},
    el("p", { class: "name", title: place }, el("bdi", {}, name)),
    el("span", { class: "badge" }, words(reason)),
    el("p", { class: "quiet path-line" }, el("bdi", {}, place.slice(0, -name.length - 1))),
    el("p", {}, detail),
    attempts > 1 ? el("p", { class: "quiet" }, `Tried ${count(attempts, "time")}`) : null,
  );
}

function words(reason) {
  return reason.replaceAll("_", " ");
}

function decoded(uri) {
  try {
    return decodeURIComponent(uri.replace(/^file:\/\//, ""));
  } catch {
    return uri;
  }
}

/** What to do about them. */
function retrying(collection, reason) {
  const option = collection.name === "default" ? "" : ` --collection ${collection.name}`;
  const only = reason === null ? "" : ` --reason ${reason}`;
  return el(
    "div",
    { class: "teach" },
    el("p", {}, "When the files are mended or replaced, indexing finds them by itself. To try them as they are once more:"),
    command(`lookalike${option} retry${only}`),
  );
}

function nothing() {
  return panel("Nothing failed", el("p", {}, "Every file that was seen and is a picture has become an image. Files that cannot be read would be listed here, each with the reason."));
}
