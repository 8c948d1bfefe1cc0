// Lists that grow by themselves: a button that presses itself when it comes near the screen.

import { el } from "./elements.js";

const AHEAD = "900px";

/** Return the button. load: fetches the next part; its errors go to view.fail, and the button waits. */
export function whenNear(text, load, view) {
  const button = el("button", { type: "button", class: "button more" }, text);
  let busy = false;
  const grow = async () => {
    if (busy) return;
    busy = true;
    watcher.unobserve(button);
    try {
      await load();
      // Observed anew, it reports at once whether it is still near.
      watcher.observe(button);
    } catch (error) {
      view.fail(error);
    } finally {
      busy = false;
    }
  };
  const watcher = new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && grow(), {
    rootMargin: AHEAD,
  });
  view.signal.addEventListener("abort", () => watcher.disconnect());
  button.addEventListener("click", grow);
  watcher.observe(button);
  return button;
}
