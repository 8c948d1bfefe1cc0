// The small pictures of the map: fetched a few at a time, those wanted last first, and kept until there are too many.

import { ask } from "./keys.js";
import { thumbnail } from "./server.js";

const SIZE = 128;
const AT_ONCE = 6;
const KEPT = 800;

export class MapPictures {
  #kept = new Map();
  #wanted = [];
  #asking = 0;

  /** arrived: called when another picture is there; signal: ends it all. */
  constructor(collection, arrived, signal) {
    this.collection = collection;
    this.arrived = arrived;
    this.signal = signal;
    signal.addEventListener("abort", () => {
      for (const bitmap of this.#kept.values()) bitmap?.close();
      this.#kept.clear();
    });
  }

  /** Return a picture that is here, null of one that cannot be shown, undefined of one still to come. */
  get(id) {
    const found = this.#kept.get(id);
    if (found !== undefined) {
      this.#kept.delete(id);
      this.#kept.set(id, found);
    }
    return found;
  }

  /** Fetch these, the first ones first, and nothing else that was wanted before. */
  want(ids) {
    this.#wanted = ids.filter((id) => !this.#kept.has(id)).reverse();
    while (this.#asking < AT_ONCE && this.#wanted.length) this.#fetch(this.#wanted.pop());
  }

  async #fetch(id) {
    this.#asking += 1;
    this.#kept.set(id, undefined);
    this.#put(id, await this.#bitmap(id));
    this.#asking -= 1;
    if (this.signal.aborted) return;
    this.arrived();
    this.want(this.#wanted.reverse());
  }

  async #bitmap(id) {
    try {
      const answer = await ask(thumbnail(this.collection, id, SIZE), { signal: this.signal });
      return answer.ok ? await createImageBitmap(await answer.blob()) : null;
    } catch {
      return null;
    }
  }

  #put(id, bitmap) {
    if (this.signal.aborted) return bitmap?.close();
    this.#kept.set(id, bitmap);
    for (const [oldest, held] of this.#kept) {
      if (this.#kept.size <= KEPT) break;
      held?.close();
      this.#kept.delete(oldest);
    }
  }
}
