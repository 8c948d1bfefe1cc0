// The least score of a near copy: a slider and a number that agree, and the way back to the default one.

import { el } from "./elements.js";

const WAIT_MS = 350;

/** Return {element, show}: a slider and a number that agree. changed: called once they rest, null for the default. */
export function thresholdControl(changed) {
  const slider = el("input", { type: "range", min: "0.5", max: "1", step: "0.01", id: "threshold" });
  const exact = el("input", {
    type: "number",
    min: "-1",
    max: "1",
    step: "0.01",
    "aria-label": "Least score of a near copy, as a number",
  });
  const standard = el(
    "button",
    { type: "button", class: "button quiet", title: "The value for this backbone" },
    "Default",
  );
  let timer;
  const later = (source, other) => {
    clearTimeout(timer);
    if (source.value === "" || Math.abs(source.value) > 1) return;
    other.value = source.value;
    timer = setTimeout(() => changed(Number(source.value)), WAIT_MS);
  };
  slider.addEventListener("input", () => later(slider, exact));
  exact.addEventListener("input", () => later(exact, slider));
  standard.addEventListener("click", () => {
    clearTimeout(timer);
    changed(null);
  });
  const label = el("label", { for: "threshold" }, "Least score of a near copy");
  const ends = el(
    "div",
    { class: "ends quiet", "aria-hidden": "true" },
    el("span", {}, "more"),
    el("span", {}, "surer"),
  );
  const element = el(
    "div",
    { class: "threshold" },
    label,
    el("div", { class: "threshold-inputs" }, el("div", {}, slider, ends), exact, standard),
  );
  const show = (value, chosen) => {
    standard.disabled = !chosen;
    if (value === null || document.activeElement === exact) return;
    slider.value = value;
    exact.value = String(Number(value.toFixed(4)));
  };
  return { element, show };
}
