// The review of duplicates on the live page: the same keys as in a report that is a file, each verdict sent at once.

import { el } from "./elements.js";
import { announce, notice } from "./notices.js";
import { asked, SAYING, Verdicts, WORDS } from "./review.js";
import { sayVerdict, takeBackVerdict } from "./server.js";
import { differsButton } from "./what_differs.js";

const KEYS = Object.fromEntries(Object.entries(SAYING).map(([key, verdict]) => [verdict, key.toUpperCase()]));
const ORDER = ["duplicate", "not_duplicate", "keep_both"];

/** What a person says about the copies of one collection. view: the page's view; it ends with it. */
export class LiveReview {
  constructor(view, rows) {
    this.collection = view.collection.name;
    this.refused = view.memory.refusal !== null;
    this.rows = rows;
    this.verdicts = (view.memory.verdicts ??= new Verdicts());
    this.sending = Promise.resolve();
    this.undoing = el("button", { type: "button", class: "button quiet", onclick: () => this.undo() }, "Undo");
    this.element = el(
      "p",
      { class: "review-keys quiet" },
      ...ORDER.map((verdict) => hint(KEYS[verdict], WORDS[verdict])),
      hint("X", "what differs"),
      hint("U", "undo"),
      hint("← →", "move"),
      this.undoing,
    );
    this.undoing.disabled = !this.verdicts.steps;
    document.addEventListener("keydown", (event) => this.key(event), { signal: view.signal });
  }

  /** Add what a person can say of a copy to its tile. Copies of the same bytes are not asked about. */
  add(tile, keeper, member) {
    if (!keeper.sha256 || !member.sha256 || keeper.sha256 === member.sha256) return tile;
    Object.assign(tile.dataset, { first: keeper.sha256, second: member.sha256 });
    if (member.confirmed) tile.dataset.before = "duplicate";
    const said = el("span", { class: "said" });
    const buttons = this.refused ? [] : ORDER.map((verdict) => this.button(tile, verdict));
    const differs = differsButton(tile, this.collection, keeper, member);
    if (differs !== null) buttons.push(differs);
    tile.append(el("div", { class: "says", role: "group", "aria-label": "What it is" }, ...buttons, said));
    this.mark(tile);
    return tile;
  }

  /** Return a group without the copies that somebody has reviewed, and those that nobody is asked about. */
  open(group) {
    const open = ({ sha256, confirmed }) =>
      sha256 !== group.keeper.sha256 && !confirmed && this.verdicts.of(group.keeper.sha256, sha256) === null;
    return { ...group, members: group.members.filter(open) };
  }

  /** Return a button that says what its key says; small, since every copy has three. */
  button(tile, verdict) {
    const name = capital(WORDS[verdict]);
    return el(
      "button",
      {
        type: "button",
        class: "button quiet",
        title: name,
        "aria-label": name,
        "data-say": verdict,
        onclick: (event) => this.press(event, tile, verdict),
      },
      KEYS[verdict],
    );
  }

  press(event, tile, verdict) {
    event.stopPropagation(); // the grid takes a click for a closer look
    this.say(tile, verdict);
  }

  key(event) {
    const wish = asked(event);
    if (wish === null || (this.refused && (wish.say || wish.undo))) return;
    const tile = document.activeElement?.closest?.(".tile[data-second]");
    if ((wish.say || wish.compare) && !tile) return;
    event.preventDefault();
    if (wish.undo) this.undo();
    else if (wish.move) this.step(tile, wish.move);
    else if (wish.compare) tile.querySelector("[data-compare]")?.click();
    else {
      this.say(tile, wish.say);
      this.step(tile, 1);
    }
  }

  step(tile, by) {
    const tiles = [...this.rows.querySelectorAll(".tile[data-second]")];
    const at = tiles.indexOf(tile);
    const next = at < 0 ? tiles[0] : tiles[at + by];
    next?.querySelector(".face").focus();
    next?.scrollIntoView({ block: "nearest" });
  }

  say(tile, verdict) {
    const { first, second } = tile.dataset;
    this.verdicts.say(first, second, verdict);
    this.changed(first, second);
    announce(`${WORDS[verdict]}, sent`);
  }

  undo() {
    const pair = this.verdicts.undo();
    if (pair === null) {
      announce("Nothing to undo");
      return;
    }
    this.changed(...pair);
    this.tilesOf(...pair)[0]?.querySelector(".face").focus();
    announce("Undone");
  }

  /** Show what is said of a pair now, and send it; one after the other, so that the last word counts. */
  changed(first, second) {
    this.undoing.disabled = !this.verdicts.steps;
    const tiles = this.tilesOf(first, second);
    tiles.forEach((tile) => this.mark(tile));
    const verdict = this.verdicts.of(first, second) ?? tiles[0]?.dataset.before ?? null;
    this.sending = this.sending
      .then(() =>
        verdict === null
          ? takeBackVerdict(this.collection, first, second)
          : sayVerdict(this.collection, { first, second, verdict }),
      )
      .catch((error) => {
        notice(error.message, { title: "What you said was not written down" });
        this.tilesOf(first, second).forEach((tile) => tile.classList.add("unsent"));
      });
  }

  tilesOf(first, second) {
    return [...this.rows.querySelectorAll(".tile[data-second]")].filter(({ dataset }) =>
      [dataset.first, dataset.second].every((one) => one === first || one === second),
    );
  }

  mark(tile) {
    const { first, second, before } = tile.dataset;
    const said = this.verdicts.of(first, second) ?? before ?? null;
    tile.classList.remove("unsent");
    if (said === null) delete tile.dataset.said;
    else tile.dataset.said = said;
    tile.querySelector(".said").textContent = said === null ? "" : WORDS[said];
    for (const button of tile.querySelectorAll("[data-say]"))
      button.setAttribute("aria-pressed", String(button.dataset.say === said));
  }
}

function hint(key, words) {
  return el("span", {}, el("kbd", {}, key), ` ${words}`);
}

function capital(words) {
  return words[0].toUpperCase() + words.slice(1);
}
