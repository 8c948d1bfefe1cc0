// Making elements. Text always becomes text nodes and markup is never parsed: file names are hostile.

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  camera: "M3.5 6.5h2.7L7.5 4.5h5l1.3 2h2.7A1.5 1.5 0 0 1 18 8v7a1.5 1.5 0 0 1-1.5 1.5h-13A1.5 1.5 0 0 1 2 15V8a1.5 1.5 0 0 1 1.5-1.5zM10 8.5a2.75 2.75 0 1 1 0 5.5 2.75 2.75 0 0 1 0-5.5z",
  crop: "M6 2.5V14h11.5M2.5 6H14v11.5",
  minus: "M4 10h12",
  moon: "M16.5 12A7 7 0 0 1 8 3.5a7 7 0 1 0 8.5 8.5z",
  sun: "M10 6.5a3.5 3.5 0 1 1 0 7 3.5 3.5 0 0 1 0-7zM10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.3 4.3l1.1 1.1M14.6 14.6l1.1 1.1M4.3 15.7l1.1-1.1M14.6 5.4l1.1-1.1",
  system: "M3.5 3.5h13A1.5 1.5 0 0 1 18 5v7.5a1.5 1.5 0 0 1-1.5 1.5h-13A1.5 1.5 0 0 1 2 12.5V5a1.5 1.5 0 0 1 1.5-1.5zM7.5 17h5M10 14v3",
  close: "M5 5l10 10M15 5L5 15",
  copy: "M7 7V4.5A1.5 1.5 0 0 1 8.5 3h7A1.5 1.5 0 0 1 17 4.5v7a1.5 1.5 0 0 1-1.5 1.5H13M4.5 7h7A1.5 1.5 0 0 1 13 8.5v7a1.5 1.5 0 0 1-1.5 1.5h-7A1.5 1.5 0 0 1 3 15.5v-7A1.5 1.5 0 0 1 4.5 7z",
  done: "M4 10.5l4 4 8-9",
  enlarge: "M12 3h5v5M17 3l-6 6M8 17H3v-5M3 17l6-6",
  fit: "M3 7V3h4M13 3h4v4M17 13v4h-4M7 17H3v-4",
  key: "M12.5 3.5a4 4 0 1 1-3.6 5.7L3.5 14.6v2h3v-2h2v-2h1.4l.9-.9M13.6 6.4h.01",
  next: "M8 4l6 6-6 6",
  picture:
    "M4.5 3.5h11A1.5 1.5 0 0 1 17 5v10a1.5 1.5 0 0 1-1.5 1.5h-11A1.5 1.5 0 0 1 3 15V5a1.5 1.5 0 0 1 1.5-1.5zM3 14l4.5-4.5L11 13l2.5-2.5L17 14M12.5 7.5h.01",
  plus: "M4 10h12M10 4v12",
  previous: "M12 4l-6 6 6 6",
  search: "M8.75 3.5a5.25 5.25 0 1 1 0 10.5 5.25 5.25 0 0 1 0-10.5zM12.6 12.6L17 17",
  undo: "M8 4L4 8l4 4M4 8h8a4.5 4.5 0 0 1 0 9H8",
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
