// Why a picture cannot be searched by, by the server's reason (docs/indexing.md), as something that can be done about it.

const SMALLER = "Save it smaller, or as JPEG, and try that.";
const ANEW = "Open it in a program for pictures, save it anew, and try that.";

const TROUBLE = {
  empty: "The file is empty. Choose another one, or get it again.",
  not_an_image: "The file is no picture. JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF and HEIC can be searched by.",
  unsupported_format: "Pictures of this format cannot be read here. Save it as JPEG or PNG, and try that.",
  truncated: "The file ends before the picture does: it was cut off on its way. Get it again.",
  corrupt: `The file is damaged. ${ANEW}`,
  too_many_pixels: `It has more pixels than can be read here. ${SMALLER}`,
  file_too_large: `The file is too large to be read here. ${SMALLER}`,
  decoder_crashed: `Reading it went wrong: it may be damaged. ${ANEW}`,
  decoder_timeout: `Reading it takes too long. ${SMALLER}`,
  out_of_memory: `Reading it takes too much memory. ${SMALLER}`,
};

/** Return what to do about a picture that the server refused, null where the server's own words say it. */
export function remedyFor(reason) {
  return TROUBLE[reason] ?? null;
}
