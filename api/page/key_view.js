// What stands where pictures would be while the server wants a key.

import { command, el, icon } from "./elements.js";
import { useKey } from "./keys.js";
import { collections, ServerGone } from "./server.js";

const PRINTABLE = /^[\x21-\x7e]+$/;
const UNUSABLE = "A key begins with lk_ and has neither blanks nor accents. Copy it again, all of it.";

/** Return the view. why: what the server said of the last key, null when there was none; opened: called once one works. */
export function keyView(why, opened) {
  const field = el("input", {
    type: "password",
    id: "key",
    autocomplete: "current-password",
    autocapitalize: "off",
    spellcheck: "false",
    placeholder: "lk_…",
    required: true,
    "aria-describedby": "key-trouble",
  });
  const trouble = el("p", { class: "trouble", id: "key-trouble", role: "alert" });
  const button = el("button", { class: "button main" }, "Open");
  const say = (text) => {
    trouble.textContent = text.charAt(0).toUpperCase() + text.slice(1);
    field.toggleAttribute("aria-invalid", text !== "");
  };
  const form = el(
    "form",
    { class: "key-form" },
    el("label", { for: "key" }, "Key"),
    el("div", { class: "key-line" }, field, button),
    trouble,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    const said = await refusal(field.value.trim());
    button.disabled = false;
    if (said === null) return opened();
    say(said);
    field.select();
    field.focus();
  });
  say(why ?? "");
  return el(
    "section",
    { class: "teach locked" },
    el("span", { class: "teach-mark" }, icon("key")),
    el("h1", { tabindex: "-1" }, "This server asks for a key"),
    el("p", {}, "Type it once: this tab keeps it until it is closed."),
    form,
    el("p", { class: "quiet" }, "Whoever runs the server makes one with"),
    command("lookalike keys create --role read"),
  );
}

/** Keep a key if it opens the server; return null, or what is wrong with it. */
async function refusal(text) {
  if (!PRINTABLE.test(text)) return UNUSABLE;
  useKey(text);
  try {
    await collections();
    return null;
  } catch (error) {
    useKey(null);
    if (error.status === undefined && !(error instanceof ServerGone)) throw error;
    return error.message;
  }
}
