// What a person says about copies and their keepers, with the keyboard. The live page imports it; a report that is one
// file carries it inside (api/duplicate_report/page.py), so it imports nothing.

/** What each key says of a copy and its keeper, in the words that `lookalike verdicts import` takes. */
export const SAYING = { k: "keep_both", d: "duplicate", n: "not_duplicate" };
export const WORDS = { keep_both: "keep both", duplicate: "duplicate", not_duplicate: "not a duplicate" };

/** Verdicts on pairs of contents, named by sha256 in either order; every step can be undone. */
export class Verdicts {
  #said = new Map();
  #steps = [];

  /** saved: verdicts of before, [{first, second, verdict, made_at}]. */
  constructor(saved = []) {
    for (const one of saved) this.#said.set(pairName(one.first, one.second), one);
  }

  get size() {
    return this.#said.size;
  }

  /** Return what was said of a pair, null where nothing was. */
  of(first, second) {
    return this.#said.get(pairName(first, second))?.verdict ?? null;
  }

  /** Say something of a pair. */
  say(first, second, verdict) {
    const name = pairName(first, second);
    this.#steps.push([name, this.#said.get(name)]);
    const [low, high] = name.split(" ");
    this.#said.set(name, { first: low, second: high, verdict, made_at: Date.now() / 1000 });
  }

  /** How many steps can be taken back. */
  get steps() {
    return this.#steps.length;
  }

  /** Take the last step back; return [first, second] of its pair, null where there is none. */
  undo() {
    const step = this.#steps.pop();
    if (step === undefined) return null;
    const [name, before] = step;
    if (before === undefined) this.#said.delete(name);
    else this.#said.set(name, before);
    return name.split(" ");
  }

  all() {
    return [...this.#said.values()];
  }

  /** Return them as the CSV that `lookalike verdicts import` takes. */
  csv() {
    const rows = this.all().map((one) => `${one.first},${one.second},${one.verdict},${one.made_at}`);
    return `${["first,second,verdict,made_at", ...rows].join("\r\n")}\r\n`;
  }
}

/** Return what a key asks for: {say}, {move: ±1}, {undo}, {compare}; null where it is not for the review. */
export function asked(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return null;
  if (event.target.closest?.("input, textarea, select, dialog[open], [contenteditable]")) return null;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key in SAYING) return { say: SAYING[key] };
  if (key === "ArrowRight" || key === "ArrowDown") return { move: 1 };
  if (key === "ArrowLeft" || key === "ArrowUp") return { move: -1 };
  if (key === "u") return { undo: true };
  if (key === "x") return { compare: true };
  return null;
}

function pairName(first, second) {
  return first < second ? `${first} ${second}` : `${second} ${first}`;
}
