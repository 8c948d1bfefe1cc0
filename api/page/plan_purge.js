// Deleting for good what lies in quarantine: tried first, then confirmed by typing how many files that are.

import { el, icon } from "./elements.js";
import { count, number, size } from "./words.js";

const AGES = { "30d": "30 days ago or longer", "7d": "7 days ago or longer", "1d": "a day ago or longer", "0h": "at any time" };

/** purge: called with the body of the job. */
export class PurgeForm {
  constructor(plan, purge) {
    this.age = el("select", { id: "age" }, ...Object.entries(AGES).map(([value, words]) => el("option", { value }, words)));
    this.age.addEventListener("change", () => this.sure.replaceChildren());
    this.sure = el("div", { class: "purge-sure", role: "status" });
    const look = el("button", { type: "button", class: "button quiet" }, "See what would be deleted");
    look.addEventListener("click", () => purge({ older_than: this.age.value, dry_run: true }));
    this.purge = purge;
    this.element = el(
      "details",
      { class: "purge" },
      el("summary", {}, "Delete for good…"),
      el("p", {}, "Right before each file goes, what is kept for it is opened and compared once more: the last copy of a picture is never deleted."),
      el("div", { class: "purge-age" }, el("label", { for: "age" }, "What was moved"), this.age, look),
      this.sure,
    );
  }

  /** Show what a trial has found, and ask for the confirmation. */
  tried({ request, result }) {
    this.age.value = request.older_than;
    this.element.open = true;
    if (!result.files) {
      const young = result.young ? ` ${count(result.young, "file was", "files were")} moved later than that.` : "";
      return this.sure.replaceChildren(el("p", {}, `Nothing would be deleted.${young}`));
    }
    const wanted = String(result.files);
    const field = el("input", { type: "text", id: "typed", class: "field", inputmode: "numeric", autocomplete: "off" });
    const go = el("button", { class: "button danger", disabled: true }, icon("warning"), "Delete for good");
    field.addEventListener("input", () => (go.disabled = field.value.trim() !== wanted));
    const confirmed = (event) => {
      event.preventDefault();
      if (field.value.trim() === wanted) this.purge({ older_than: request.older_than });
    };
    this.sure.replaceChildren(
      el("p", {}, `${count(result.files, "file")} (${size(result.bytes)}) would be deleted, and nothing brings them back.`),
      el(
        "form",
        { onsubmit: confirmed, class: "purge-form" },
        el("label", { for: "typed" }, `Type ${number(result.files)} to go on`),
        field,
        go,
      ),
    );
  }
}
