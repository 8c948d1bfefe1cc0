// One plan: what became of it, what it would do, doing it, and taking it back. Each step is a job of the server, which is
// followed here, also after a reload.

import { address } from "./addresses.js";
import { duplicatesHead, heading } from "./duplicates_head.js";
import { el, icon } from "./elements.js";
import { follow, hasEnded } from "./following.js";
import { kindOf, progressBar, progressLine, resultLine, stateBadge } from "./job_words.js";
import { announce } from "./notices.js";
import { PlanForm } from "./plan_form.js";
import { planGroups } from "./plan_groups.js";
import { PurgeForm } from "./plan_purge.js";
import { resultPanel, troublePanel } from "./plan_result.js";
import { fate, STATES, surety } from "./plan_words.js";
import { refusalOf, whyNot } from "./role.js";
import { actOnPlan, cancelJob, jobs, planById } from "./server.js";
import { panel } from "./teaching.js";
import { count, moment, number, size } from "./words.js";

const GROUPS = 30;
const JOBS = 100;

/** Return how a plan is called. */
export function planTitle(plan) {
  return `Plan of ${moment(plan.made_at)}`;
}

/** Return the state of a plan as a badge. */
export function planBadge({ state }) {
  return el("span", { class: `badge plan-${state}` }, STATES[state]);
}

/** Show the plan that the address names. */
export async function showPlan(view) {
  const shown = new PlanView(view);
  const blank = el("section", { class: "card blank-card", "aria-hidden": "true" });
  view.main.replaceChildren(...duplicatesHead(view.collection.name, "plans", heading("Plan"), true), blank);
  try {
    await shown.load();
  } catch (error) {
    if (![404, 409, 422].includes(error.status)) throw error;
    view.main.replaceChildren(...duplicatesHead(view.collection.name, "plans", heading("Plan"), true), unusable(view, error));
    return;
  }
  const running = shown.jobs.find((job) => !hasEnded(job));
  if (running) await shown.follow(running);
}

class PlanView {
  constructor(view) {
    this.view = view;
    this.collection = view.collection.name;
    this.told = el("div", { class: "plan-told" });
  }

  /** Fetch all of it, then show it: nothing on screen moves meanwhile. */
  async load() {
    const { view, collection } = this;
    const { signal } = view;
    const ofThis = ({ request }) => request.plan === view.plan;
    [this.plan, this.jobs, this.refusal] = await Promise.all([
      planById(collection, view.plan, { limit: GROUPS, signal }),
      jobs(collection, { limit: JOBS, signal }).then(({ items }) => items.filter(ofThis)),
      this.refusal === undefined ? refusalOf("dedup", signal) : this.refusal,
    ]);
    this.form = new PlanForm(view, this.plan, this.form?.wish, (body) => this.act("apply", body));
    this.purge = new PurgeForm(this.plan, (body) => this.act("purge", body));
    if (this.plan.state !== "expired") await this.form.look();
    this.draw();
  }

  draw() {
    const { plan, view } = this;
    const title = el("div", { class: "plan-title" }, heading(planTitle(plan)), planBadge(plan));
    document.title = `${planTitle(plan)} · Lookalike`;
    view.main.replaceChildren(
      ...duplicatesHead(this.collection, "plans", title, true),
      el("p", { class: "plan-fate" }, fate(plan)),
      totals(plan),
      this.told,
      el("div", { class: "plan-parts" }, ...this.parts()),
      planGroups(view, plan, GROUPS),
    );
  }

  parts() {
    const { plan } = this;
    if (this.refusal !== null) return [whyNot(this.refusal), history(this.jobs)];
    const form = plan.state === "expired" ? expired(this.collection) : this.form.element;
    const back = plan.quarantined ? el("section", { class: "card" }, ...this.taken()) : null;
    return [back, form, history(this.jobs)].filter((part) => part !== null);
  }

  /** What lies in quarantine: bring it back, or delete it for good. */
  taken() {
    const { quarantined } = this.plan;
    const copies = count(quarantined, "copy", "copies");
    return [
      el("h2", {}, `${copies} in quarantine`),
      el("p", { class: "quiet" }, "They still take their space, and searches do not name them."),
      this.undoing(`Undo: bring ${copies} back`),
      this.purge.element,
    ];
  }

  undoing(text) {
    return el("button", { type: "button", class: "button", onclick: () => this.act("undo", {}) }, icon("undo"), text);
  }

  /** Start a job, follow it to its end, and show what came of it. */
  async act(what, body) {
    this.lock(true);
    this.told.replaceChildren();
    try {
      await this.follow(await actOnPlan(this.collection, this.plan.id, what, body, this.view.signal));
    } catch (error) {
      this.lock(false);
      if (error.name === "AbortError" || error.status === undefined || error.status === 401) return this.view.fail(error);
      this.tell(troublePanel(this.collection, error));
    }
  }

  async follow(job) {
    this.lock(true);
    const line = el("p", { role: "status" });
    const place = el("div", {});
    const cancel = el("button", { type: "button", class: "button quiet small" }, "Cancel");
    cancel.addEventListener("click", () => {
      cancel.disabled = true;
      cancelJob(job.id).catch(this.view.fail);
    });
    this.told.replaceChildren(el("section", { class: "card running" }, el("h2", {}, kindOf(job)), line, place, cancel));
    this.told.scrollIntoView({ block: "nearest" });
    const told = (changed) => {
      line.textContent = progressLine(changed);
      place.replaceChildren(progressBar(changed, `How far ${kindOf(job).toLowerCase()} is`));
    };
    const ended = await follow(job, { signal: this.view.signal, told });
    await Promise.all([this.load(), this.view.changed()]);
    if (ended.kind === "purge" && ended.result?.dry_run) this.purge.tried(ended);
    const undo = ended.kind === "apply" && ended.result?.files && this.plan.quarantined ? this.undoing("Undo") : null;
    this.tell(resultPanel(this.collection, ended, undo));
  }

  tell(shown) {
    this.told.replaceChildren(shown);
    this.told.scrollIntoView({ block: "nearest" });
    shown.querySelector("h2").focus({ preventScroll: true });
    announce(shown.querySelector("h2").textContent);
  }

  /** While a job runs nothing else can be begun. */
  lock(locked) {
    for (const button of this.view.main.querySelectorAll(".plan-parts button, .plan-parts input, .plan-told button"))
      button.disabled = locked;
    if (!locked) this.form.show();
  }
}

function totals(plan) {
  const facts = {
    [plan.groups === 1 ? "group" : "groups"]: number(plan.groups),
    [plan.files === 1 ? "copy" : "copies"]: number(plan.files),
    "in all of them": size(plan.bytes),
    "near copies from": surety(plan),
  };
  const rows = Object.entries(facts).map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value)));
  return el("dl", { class: "totals" }, ...rows);
}

/** What was done by the plan, newest first, as far as the server remembers its jobs. */
function history(done) {
  if (!done.length) return null;
  const rows = done.map((job) =>
    el(
      "li",
      {},
      el("p", {}, el("strong", {}, job.request.dry_run ? `${kindOf(job)}, tried` : kindOf(job)), " ", stateBadge(job)),
      el("p", { class: "quiet" }, moment(job.created_at), hasEnded(job) && resultLine(job) ? `: ${resultLine(job)}` : ""),
    ),
  );
  return el("section", { class: "card plan-history" }, el("h2", {}, "What was done"), el("ol", { role: "list" }, ...rows));
}

function expired(collection) {
  const again = el("a", { class: "button", href: address("duplicates", collection) }, "Look again");
  const words = "Pictures change: a plan is only followed for a while. Looking for duplicates again writes a new one, and knows all that you have said.";
  return el("section", { class: "card" }, el("h2", {}, "This plan has expired"), el("p", {}, words), again);
}

/** What stands in the place of a plan that is gone, or that somebody edited. */
function unusable(view, error) {
  const again = el("a", { class: "button main", href: address("duplicates", view.collection.name) }, "Look for duplicates");
  const gone = error.status !== 409; // 422: it is no id of a plan
  const words = gone ? "Plans that nobody applied go 30 days after they expired." : `${error.message}.`;
  const undo = gone ? null : el("p", { class: "quiet" }, `What it has moved can still come back: lookalike undo ${view.plan}, where the server runs.`);
  return panel(gone ? "There is no such plan" : "This plan cannot be used", el("p", {}, words), undo ?? "", again);
}
