// How values read on the page.

const RELATIONS = {
  identical: "identical",
  same_picture: "same picture",
  probable: "probable copy",
  similar: "similar",
};

/** What a copy is to its keeper, in the order of the filter; api/duplicate_report/page.py says the same. */
export const KINDS = {
  same_bytes: "same bytes",
  same_pixels: "same pixels",
  re_encoded: "compressed again",
  resized: "resized",
  cropped: "cropped",
  turned: "turned",
  edited: "edited",
  near: "near copy",
};

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
const TIME = new Intl.DateTimeFormat("en-US", { dateStyle: "medium", timeStyle: "short" });
const NUMBER = new Intl.NumberFormat("en-US");

/** Return "1,200". */
export function number(value) {
  return NUMBER.format(value);
}

/** Return "1 copy" or "1,200 copies". */
export function count(value, one, many = `${one}s`) {
  return `${number(value)} ${value === 1 ? one : many}`;
}

/** Return a size in the largest fitting unit, as the command line does. */
export function size(bytes) {
  let unit = 0;
  for (; bytes >= 1024 && unit < UNITS.length - 1; unit += 1) bytes /= 1024;
  return unit === 0 ? `${bytes} B` : `${bytes.toFixed(1)} ${UNITS[unit]}`;
}

/** Return when something was, as people write it. */
export function moment(text) {
  return TIME.format(new Date(text));
}

/** Return a cosine with three digits, such as 0.913. */
export function score(cosine) {
  return cosine.toFixed(3);
}

/** Return where a region of an image lies: "45–100 % across, 0–55 % down". */
export function part(region) {
  const percent = (start, length) => `${Math.round(100 * start)}–${Math.round(100 * (start + length))} %`;
  return `${percent(region.x, region.width)} across, ${percent(region.y, region.height)} down`;
}

/** Return "800 × 600", or a dash where nobody has seen the picture: its embedding was imported. */
export function pixels(image) {
  if (!image.width) return "–";
  return `${number(image.width)} × ${number(image.height)}`;
}

/** Return what people call a relation. */
export function relation(word) {
  return RELATIONS[word] ?? word;
}

// What was done to an image, as docs/searching.md lists it.
const EDITS = {
  mirrored: () => "mirrored",
  rotated: (amount) => `turned by ${amount}°`,
  cropped: (amount) => `cropped to ${percent(amount)}`,
  framed: (amount) => `inside a larger picture (${percent(amount)} of it)`,
  scaled: (amount) => `${Math.round(100 * amount)} % of the size`,
  stretched: () => "stretched",
  tilted: () => "seen at an angle",
  grey: () => "without colours",
  recoloured: () => "recoloured",
  brightened: () => "brighter",
  darkened: () => "darker",
  blurred: () => "blurred",
  covered: (amount) => `${percent(amount)} covered`,
  converted: () => "another format",
  recompressed: () => "compressed again",
  resaved: () => "saved again",
};

/** Return what was done to an image in words, such as "cropped to 62 %". */
export function edit({ kind, amount }) {
  return EDITS[kind]?.(amount) ?? kind;
}

/** Return {words, copies}: which copies are among matches, "" for none, and how many of the matches are copies. */
export function verdictOn(matches) {
  const of = (word) => matches.filter((match) => match.relation === word).length;
  const [identical, edited, copies] = ["identical", "same_picture", "probable"].map(of);
  const found = [];
  if (identical) found.push(count(identical, "identical image"));
  if (edited) found.push(count(edited, "edited copy", "edited copies"));
  if (copies) found.push(count(copies, "probable copy", "probable copies"));
  return { words: listed(found), copies: identical + edited + copies };
}

/** Return "a, b and c". */
export function listed(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

function percent(amount) {
  return `${Math.round(100 * amount)} %`;
}

/** Return by which backbone a collection is compared, and what its licence allows. */
export function licence({ backbone, licence: name, licence_accepted: accepted, licence_accepted_at: at }) {
  const consent = accepted && at ? `: no commercial use, agreed on ${at.slice(0, 10)}` : "";
  return `Compared by ${backbone} · licence of its weights: ${name ?? "unknown"}${consent}`;
}

/** Return "tabby" of a label such as "tabby, tabby cat". */
export function shortLabel({ label }) {
  return label.split(",")[0].trim();
}

/** Return "62 %", or "<1 %". */
export function share(probability) {
  return probability < 0.01 ? "<1 %" : `${Math.round(100 * probability)} %`;
}

/** Return where an image is: its path on this machine, else its uri. */
export function place(image) {
  return image.path ?? image.uri ?? image.key;
}

// The file of a picture that was sent, in the store's folder `uploads`, and one that nobody kept.
const SENT = /(\/[0-9a-f]{64}(\.\w+)?|^upload:.*)$/;

// Letters that are not seen, or turn round what stands beside them.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** Return a text in which nothing hides: controls as \u202e, blanks alone in quotes. */
export function visible(text) {
  const shown = text.replace(UNSEEN, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`);
  return shown.trim() ? shown : `"${shown}"`;
}

/** Return the last part of an image's place; of one that was sent, its key, as its file is named by its content. */
export function name(image) {
  return visible(plainName(image));
}

function plainName(image) {
  if (SENT.test(image.uri) && !image.key.startsWith("sha256:")) return image.key;
  if (image.path) return lastPart(image.path);
  try {
    return lastPart(decodeURIComponent(image.uri));
  } catch {
    return lastPart(image.uri);
  }
}

/** Return the folder that holds an image, without those above it. */
export function folder(image) {
  if (SENT.test(image.uri)) return "uploads";
  const above = lastPart(place(image).split(/[\\/]/).slice(0, -1).join("/"));
  return above && visible(above);
}

function lastPart(text) {
  return text.split(/[\\/]/).filter(Boolean).at(-1) ?? text;
}
