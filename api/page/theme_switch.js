// The switch of the bar: as the system wishes, light, dark. theme.js does it at the next visit before anything is painted.

import { el, icon } from "./elements.js";

const PLACE = "lookalike-theme";
const NEXT = { system: "light", light: "dark", dark: "system" };
const WORDS = { system: "Colours as the system wishes", light: "Light colours", dark: "Dark colours" };
const ICONS = { system: "system", light: "sun", dark: "moon" };
const BARS = { light: "#ffffff", dark: "#1b1d1e" };

/** Return the button. */
export function themeSwitch() {
  const root = document.documentElement;
  const button = el("button", { type: "button", class: "button bare theme" });
  const show = () => {
    const now = root.dataset.theme ?? "system";
    button.replaceChildren(icon(ICONS[now]));
    button.title = `${WORDS[now]}. Change to: ${WORDS[NEXT[now]].toLowerCase()}`;
    button.setAttribute("aria-label", button.title);
    for (const meta of document.querySelectorAll('meta[name="theme-color"]')) {
      const wished = meta.media.includes("dark") ? "dark" : "light";
      meta.content = BARS[now === "system" ? wished : now];
    }
  };
  button.addEventListener("click", () => {
    const next = NEXT[root.dataset.theme ?? "system"];
    if (next === "system") delete root.dataset.theme;
    else root.dataset.theme = next;
    keep(next);
    show();
  });
  show();
  return button;
}

function keep(theme) {
  try {
    if (theme === "system") localStorage.removeItem(PLACE);
    else localStorage.setItem(PLACE, theme);
  } catch {
    // Refused by the browser's settings: it holds until the page is left.
  }
}
