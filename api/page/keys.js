// The key that this server asks for: typed once, kept until the tab is closed, sent in a header that no other site can send.

const PLACE = "lookalike-key";
const AHEAD = "600px";
// Where the browser keeps nothing for us, it is kept until the page is loaded anew.
let key = stored();

/** Tell whether requests carry a key. */
export function hasKey() {
  return key !== null;
}

/** Send this key from now on; null: none. */
export function useKey(text) {
  key = text;
  try {
    if (key === null) sessionStorage.removeItem(PLACE);
    else sessionStorage.setItem(PLACE, key);
  } catch {
    // Refused by the browser's settings; `key` has it.
  }
}

/** Ask the server, with the key where there is one. */
export function ask(path, options = {}) {
  const headers = key === null ? options.headers : { ...options.headers, Authorization: `Bearer ${key}` };
  return fetch(path, { ...options, headers });
}

/**
 * Let an img show a picture of the server. An img cannot send a key, and a cookie would be sent by other sites, too: with a
 * key the picture is fetched, when it comes near the screen if the img is a lazy one.
 */
export function show(img, path) {
  if (key === null) img.src = path;
  else if (img.loading === "lazy") {
    waiting.set(img, path);
    near.observe(img);
  } else fetchInto(img, path);
}

const waiting = new WeakMap();
const near = new IntersectionObserver(
  (seen) => {
    for (const { isIntersecting, target } of seen) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      fetchInto(target, waiting.get(target));
    }
  },
  { rootMargin: AHEAD },
);

async function fetchInto(img, path) {
  try {
    const answer = await ask(path);
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    const url = URL.createObjectURL(await answer.blob());
    for (const end of ["load", "error"]) img.addEventListener(end, () => URL.revokeObjectURL(url), { once: true });
    img.src = url;
  } catch {
    img.dispatchEvent(new Event("error"));
  }
}

function stored() {
  try {
    return sessionStorage.getItem(PLACE);
  } catch {
    return null;
  }
}
