// Making elements. Text always becomes text nodes and markup is never parsed: file names are hostile.

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  close: "M5 5l10 10M15 5L5 15",
  copy: "M7 7V4.5A1.5 1.5 0 0 1 8.5 3h7A1.5 1.5 0 0 1 17 4.5v7a1.5 1.5 0 0 1-1.5 1.5H13M4.5 7h7A1.5 1.5 0 0 1 13 8.5v7a1.5 1.5 0 0 1-1.5 1.5h-7A1.5 1.5 0 0 1 3 15.5v-7A1.5 1.5 0 0 1 4.5 7z",
  done: "M4 10.5l4 4 8-9",
  enlarge: "M12 3h5v5M17 3l-6 6M8 17H3v-5M3 17l6-6",
  key: "M12.5 3.5a4 4 0 1 1-3.6 5.7L3.5 14.6v2h3v-2h2v-2h1.4l.9-.9M13.6 6.4h.01",
  next: "M8 4l6 6-6 6",
  picture:
    "M4.5 3.5h11A1.5 1.5 0 0 1 17 5v10a1.5 1.5 0 0 1-1.5 1.5h-11A1.5 1.5 0 0 1 3 15V5a1.5 1.5 0 0 1 1.5-1.5zM3 14l4.5-4.5L11 13l2.5-2.5L17 14M12.5 7.5h.01",
  previous: "M12 4l-6 6 6 6",
  search: "M8.75 3.5a5.25 5.25 0 1 1 0 10.5 5.25 5.25 0 0 1 0-10.5zM12.6 12.6L17 17",
  warning: "M10 3.5l7.5 13h-15zM10 8.5v3.5M10 14.2h.01",
};

/** Return an element. on… attributes are listeners; false, null and undefined leave an attribute out. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined)
      node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Return a line icon, hidden from screen readers. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  for (const [key, value] of Object.entries({ viewBox: "0 0 20 20", class: "icon", "aria-hidden": "true" })) {
    svg.setAttribute(key, value);
  }
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** Return a command that can be copied with one press. */
export function command(text) {
  return el(
    "div",
    { class: "command" },
    el("code", {}, text),
    copyButton("Copy", () => text),
  );
}

/** Return a button that copies a text and says so. text: a function, asked at each press. */
export function copyButton(label, text, name = "button quiet") {
  const words = el("span", { "aria-live": "polite" }, label);
  const button = el("button", { type: "button", class: name }, icon("copy"), words);
  button.addEventListener("click", async () => {
    const copied = await copy(text());
    button.replaceChildren(icon(copied ? "done" : "warning"), words);
    words.textContent = copied ? "Copied" : "Not copied: select it";
    setTimeout(() => {
      button.replaceChildren(icon("copy"), words);
      words.textContent = label;
    }, 2000);
  });
  return button;
}

/** Copy; pages served from another machine without TLS lack the modern way, so there is the old one, too. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = el("textarea", { class: "unseen", readonly: true });
    area.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    const before = document.activeElement;
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    before?.focus({ preventScroll: true });
    return copied;
  }
}
