// The points of a map: where images lie, which of them stand for their surroundings, which is nearest to a place.

const SPREAD = 2654435761; // Knuth's multiplicative hash: ranks in no order of ids or places
const COARSEST = 0;
const FINEST = 20;

export class MapPoints {
  #levels = new Map();

  /** data: as the server sends it: images and ids float64, then x and y of each, 0 to 1, float32. */
  constructor(data) {
    this.count = (data.byteLength - 8) / 16;
    this.images = new Float64Array(data, 0, 1)[0];
    this.ids = new Float64Array(data, 8, this.count);
    this.places = new Float32Array(data, 8 * (this.count + 1), 2 * this.count);
    this.ranks = Uint32Array.from({ length: this.count }, (_, at) => Math.imul(at + 1, SPREAD) >>> 0);
  }

  id(at) {
    return String(this.ids[at]);
  }

  x(at) {
    return this.places[2 * at];
  }

  y(at) {
    return this.places[2 * at + 1];
  }

  /**
   * Return the points that stand for their cells, cells being 2^-level wide. A point that does so at one level does so at
   * all finer ones, so that pictures stay while one zooms in.
   */
  representatives(level) {
    const fine = Math.max(COARSEST, Math.min(FINEST, level));
    if (!this.#levels.has(fine)) this.#levels.set(fine, this.#chosen(2 ** fine));
    return this.#levels.get(fine);
  }

  #chosen(cells) {
    const best = new Map();
    for (let at = 0; at < this.count; at += 1) {
      const cell = Math.floor(this.x(at) * cells) * (cells + 1) + Math.floor(this.y(at) * cells);
      const held = best.get(cell);
      if (held === undefined || this.ranks[at] < this.ranks[held]) best.set(cell, at);
    }
    return Int32Array.from(best.values());
  }

  /** Return the `amount` points nearest to a place, nearest first, none farther than `reach`. */
  nearest(x, y, amount, reach = Infinity) {
    const found = [];
    for (let at = 0; at < this.count; at += 1) {
      const distance = Math.hypot(this.x(at) - x, this.y(at) - y);
      if (distance > reach || (found.length === amount && distance >= found.at(-1).distance)) continue;
      found.push({ at, distance });
      found.sort((one, other) => one.distance - other.distance);
      if (found.length > amount) found.pop();
    }
    return found.map(({ at }) => at);
  }
}
