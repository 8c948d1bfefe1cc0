// The plans of a collection, newest first: what each would do or has done. A plan has an address of its own.

import { address } from "./addresses.js";
import { duplicatesHead, heading } from "./duplicates_head.js";
import { el } from "./elements.js";
import { planBadge, planTitle, showPlan } from "./plan_view.js";
import { amount, fate, surety } from "./plan_words.js";
import { plans } from "./server.js";
import { panel } from "./teaching.js";
import { whenNear } from "./when_near.js";

const PAGE = 50;

/** Show the plans of a collection, or the one that the address names. */
export function showPlans(view) {
  return view.plan === null ? new Plans(view).load() : showPlan(view);
}

class Plans {
  constructor(view) {
    this.view = view;
    this.list = el("ol", { class: "jobs", role: "list", "aria-label": "Plans, newest first" });
    this.foot = el("div", { class: "foot" });
    view.main.replaceChildren(...duplicatesHead(view.collection.name, "plans", heading("Plans")), this.list, this.foot);
  }

  async load() {
    const { view } = this;
    const page = await plans(view.collection.name, { limit: PAGE, cursor: this.cursor, signal: view.signal });
    this.cursor = page.next_cursor;
    this.list.append(...page.items.map((plan) => row(view.collection.name, plan)));
    if (!this.list.children.length) this.foot.replaceChildren(noPlans(view.collection.name));
    else if (this.cursor === null) this.foot.replaceChildren();
    else this.foot.replaceChildren(whenNear("Show more plans", () => this.load(), view));
  }
}

function row(collection, plan) {
  const link = el("a", { href: address("plans", collection, plan.id) }, planTitle(plan));
  return el(
    "li",
    { class: "job plan-row" },
    el("div", { class: "job-head" }, el("h2", {}, link), planBadge(plan)),
    el("p", {}, `${amount(plan)}, near copies from a score of ${surety(plan)}`),
    el("p", { class: "quiet" }, fate(plan)),
  );
}

function noPlans(collection) {
  const words =
    "A plan says which copies would go and what is kept for them. Looking for duplicates writes one; nothing is moved before you say so, and all of it can be undone.";
  const look = el("a", { class: "button main", href: address("duplicates", collection) }, "Look for duplicates");
  return panel("No plan yet", el("p", {}, words), look);
}
