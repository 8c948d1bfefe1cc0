// What to do by a plan: which action, what is included, how much at once; and what that would do, before anything is done.

import { el, icon } from "./elements.js";
import { ACTIONS, amount, leftLines } from "./plan_words.js";
import { planPreview } from "./server.js";
import { count, number } from "./words.js";

const WAIT_MS = 300;
const USUAL = 20; // percent of a folder
const AT_FIRST = { action: "quarantine", near: false, percent: USUAL };

/** apply: called with the body of the job. wish: of before, undefined for the usual one. */
export class PlanForm {
  constructor(view, plan, wish, apply) {
    this.view = view;
    this.plan = plan;
    this.wish = wish ?? { ...AT_FIRST };
    this.apply = apply;
    this.said = el("div", { class: "plan-preview", role: "status" });
    this.main = el("button", { type: "button", class: "button main", onclick: () => this.begin(false) });
    this.dry = el("button", { type: "button", class: "button quiet", onclick: () => this.begin(true) }, "Try it first");
    this.dry.title = "Opens and compares every file, and changes nothing";
    this.element = el(
      "section",
      { class: "card plan-form" },
      el("h2", {}, "What would go"),
      this.said,
      el("div", { class: "plan-buttons" }, this.main, this.dry),
      el("details", { class: "plan-options", open: true }, el("summary", {}, "How"), this.actions(), this.near(), this.share()),
    );
  }

  actions() {
    const one = ([name, { title, words }]) => {
      const input = el("input", { type: "radio", name: "action", value: name, checked: name === this.wish.action });
      input.addEventListener("change", () => this.change({ action: name }));
      return el("label", { class: "way" }, input, el("span", {}, el("b", {}, title), el("span", { class: "quiet" }, words)));
    };
    return el("fieldset", { class: "ways" }, el("legend", { class: "unseen" }, "What to do with the copies"), ...Object.entries(ACTIONS).map(one));
  }

  near() {
    const input = el("input", { type: "checkbox", checked: this.wish.near });
    input.addEventListener("change", () => this.change({ near: input.checked }));
    const words = "Also near copies that nobody confirmed, and groups of more than 50";
    return el("label", { class: "check" }, input, words);
  }

  share() {
    this.percent = el("input", { type: "number", id: "percent", min: "1", max: "100", step: "1", value: this.wish.percent });
    this.percent.addEventListener("input", () => {
      clearTimeout(this.timer);
      if (!this.percent.validity.valid || this.percent.value === "") return;
      this.timer = setTimeout(() => this.change({ percent: Number(this.percent.value) }), WAIT_MS);
    });
    return el("div", { class: "share" }, el("label", { for: "percent" }, "At most"), this.percent, "% of a folder’s images at once");
  }

  /** What is asked for beside the action, as the server takes it. */
  get body() {
    const { action, near, percent } = this.wish;
    const share = percent === USUAL ? {} : { max_fraction: percent / 100 };
    return { action, ...(near ? { include: ["near"] } : {}), ...share };
  }

  async change(changed) {
    Object.assign(this.wish, changed);
    if ("percent" in changed && Number(this.percent.value) !== changed.percent) this.percent.value = changed.percent;
    try {
      await this.look();
    } catch (error) {
      this.view.fail(error);
    }
  }

  /** Ask what would be done, and show it. */
  async look() {
    const { action, near, percent } = this.wish;
    const asked = { action, near, maxFraction: percent === USUAL ? null : percent / 100 };
    this.asking?.abort();
    this.asking = new AbortController();
    const signal = AbortSignal.any([this.view.signal, this.asking.signal]);
    this.found = await planPreview(this.view.collection.name, this.plan.id, asked, signal);
    this.show();
  }

  show() {
    const { found } = this;
    if (found === undefined) return;
    const { title: nothing, done, button } = ACTIONS[this.wish.action];
    const none = this.wish.action === "list" ? "Nothing can go." : `Nothing would be ${done}.`;
    const title = found.files ? `${amount(found)} would be ${done}.` : none;
    const left = leftLines(found.left).map((line) => el("li", {}, line));
    this.said.replaceChildren(
      el("p", { class: "plan-would" }, title),
      left.length ? el("ul", {}, ...left) : "",
      found.over === null ? "" : this.tooMuch(found.over),
    );
    this.main.textContent = found.files ? button(count(found.files, "copy", "copies")) : nothing;
    this.main.disabled = !found.files || found.over !== null;
    this.dry.hidden = this.wish.action === "list";
    this.dry.disabled = this.main.disabled;
  }

  /** More than may go at once: say of which folder, and how it can be allowed. */
  tooMuch({ folder, images, going, max_fraction: share }) {
    const percent = Math.round(100 * share);
    const words = `That is ${number(going)} of the ${count(images, "image")} in ${folder}, more than ${this.wish.percent} % at once.`;
    const allow = el("button", { type: "button", class: "button small" }, `It is right: allow ${percent} %`);
    allow.addEventListener("click", () => this.change({ percent }).then(() => this.main.focus()));
    return el("div", { class: "too-much" }, el("p", { class: "trouble" }, icon("warning"), words), allow);
  }

  begin(dry) {
    this.apply({ ...this.body, ...(dry ? { dry_run: true } : {}) });
  }
}
