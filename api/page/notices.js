// Banners over the content, and what screen readers are told.

import { el, icon } from "./elements.js";

const region = document.getElementById("notices");
const status = document.getElementById("status");

/** Show a banner until it is dismissed or replaced by another of the same kind; return a function that removes it. */
export function notice(text, { kind = "error", title = null } = {}) {
  const words = el("p", {}, title && el("strong", {}, `${title}. `), el("span", { class: "detail" }, text));
  const close = el("button", { type: "button", class: "button bare", "aria-label": "Dismiss" }, icon("close"));
  const banner = el(
    "div",
    { class: `notice ${kind}`, "data-kind": kind },
    icon(kind === "error" ? "warning" : "picture"),
    words,
    close,
  );
  close.addEventListener("click", () => {
    banner.remove();
    document.getElementById("main").focus({ preventScroll: true });
  });
  for (const older of region.querySelectorAll(`[data-kind="${kind}"]`)) older.remove();
  region.append(banner);
  return () => banner.remove();
}

/** Remove all banners: the next thing was begun. */
export function clearNotices() {
  region.replaceChildren();
}

/** Tell screen readers what just happened. */
export function announce(text) {
  status.textContent = text;
}
