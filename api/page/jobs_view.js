// The jobs of the server, newest first: what they do, how far they are, what came of them. It follows those that run.

import { address } from "./addresses.js";
import { el } from "./elements.js";
import { follow, hasEnded, rest } from "./following.js";
import { actsOnPlan, duration, kindOf, progressBar, progressLine, resultLine, stateBadge, webhookLine } from "./job_words.js";
import { announce } from "./notices.js";
import { refusals } from "./role.js";
import { cancelJob, jobs, sendWebhook } from "./server.js";
import { statusHead } from "./status_head.js";
import { panel } from "./teaching.js";
import { moment } from "./words.js";
import { whenNear } from "./when_near.js";

const PAGE = 50;
const LOOK_MS = 3000;

/** Show the jobs of a collection. */
export async function showJobs(view) {
  const shown = new Jobs(view);
  await shown.load();
  shown.watch().catch(view.fail);
}

class Jobs {
  constructor(view) {
    this.view = view;
    this.rows = new Map();
    this.list = el("ol", { class: "jobs", role: "list", "aria-label": "Jobs, newest first" });
    this.foot = el("div", { class: "foot" });
    view.main.replaceChildren(...statusHead(view, "jobs", "Jobs"), this.list, this.foot);
  }

  async load() {
    const { view } = this;
    this.refused ??= await refusals(view.signal);
    const page = await jobs(view.collection.name, { limit: PAGE, cursor: this.cursor, signal: view.signal });
    this.cursor = page.next_cursor;
    for (const job of page.items) this.add(job, (row) => this.list.append(row));
    this.showFoot();
  }

  showFoot() {
    if (!this.rows.size) this.foot.replaceChildren(noJobs(this.view.collection));
    else if (this.cursor === null) this.foot.replaceChildren();
    else this.foot.replaceChildren(whenNear("Show more jobs", () => this.load(), this.view));
  }

  /** Look for new jobs now and then, as long as the view is on screen. */
  async watch() {
    const { view } = this;
    for (;;) {
      await rest(LOOK_MS, view.signal);
      if (document.hidden) continue;
      const page = await jobs(view.collection.name, { limit: PAGE, cursor: null, signal: view.signal });
      const fresh = page.items.filter((job) => !this.rows.has(job.id));
      // Who is told of a job is told after its end, when nobody follows it any more.
      for (const job of page.items) if (job.webhook_delivery && !fresh.includes(job)) this.draw(this.rows.get(job.id), job);
      for (const job of fresh.reverse()) this.add(job, (row) => this.list.prepend(row));
      if (fresh.length) this.showFoot();
    }
  }

  add(job, put) {
    if (this.rows.has(job.id)) return;
    const row = el("li", { class: "job" });
    this.rows.set(job.id, row);
    put(row);
    this.draw(row, job);
    if (hasEnded(job)) return;
    const told = (changed) => this.draw(row, changed);
    follow(job, { signal: this.view.signal, told })
      .then((ended) => announce(`${kindOf(ended)}: ${ended.state}`))
      .catch(this.view.fail);
  }

  draw(row, job) {
    const running = !hasEnded(job);
    const words = running ? progressLine(job) : resultLine(job);
    const told = webhookLine(job);
    const again = !running && job.webhook_delivery?.state === "failed" ? this.sendAgain(row, job) : null;
    const took = job.started_at && job.ended_at ? `, took ${duration((new Date(job.ended_at) - new Date(job.started_at)) / 1000)}` : "";
    const held = row.contains(document.activeElement);
    row.replaceChildren(
      el("div", { class: "job-head" }, el("h2", {}, kindOf(job)), stateBadge(job), this.ends(job, running)),
      el("p", { class: "quiet" }, el("time", { datetime: job.created_at }, moment(job.created_at)), took),
      running ? progressBar(job, `How far ${kindOf(job).toLowerCase()} is`) : "",
      words === null ? "" : el("p", { class: job.problem ? "trouble" : "" }, words),
      told === null ? "" : el("p", { class: "quiet" }, told, again && " ", again),
    );
    if (held) row.querySelector("button, a")?.focus();
  }

  /** What can be done about a job: end it, or look at what it found. */
  ends(job, running) {
    if (!running) return found(job);
    const refusal = this.refusalFor(job);
    if (refusal !== null) return el("span", { class: "quiet ends-why", title: refusal }, "Your key cannot end it");
    return this.button("Cancel", () => cancelJob(job.id));
  }

  /** Return a button that tells a job's receiver of its end again; null where this page's key may not. */
  sendAgain(row, job) {
    if (this.refusalFor(job) !== null) return null;
    return this.button("Send again", async () => {
      this.draw(row, await sendWebhook(job.id));
      announce(`The end of ${kindOf(job).toLowerCase()} is told again`);
    });
  }

  refusalFor(job) {
    return this.refused(job.kind === "import" ? "write" : "dedup");
  }

  button(words, press) {
    const button = el("button", { type: "button", class: "button quiet small" }, words);
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        await press();
      } catch (error) {
        button.disabled = false;
        this.view.fail(error);
      }
    });
    return button;
  }
}

/** Return a link to what a job has found or done. */
function found(job) {
  if (actsOnPlan(job)) return look("plans", job, job.request.plan, "See the plan");
  return job.kind === "dedup" && job.state === "done" ? look("duplicates", job, null, "Review") : null;
}

function look(view, job, what, words) {
  return el("a", { class: "button quiet small", href: address(view, job.collection, what) }, words);
}

function noJobs(collection) {
  const href = address("duplicates", collection.name);
  const look = collection.images ? el("a", { class: "button", href }, "Look for duplicates") : "";
  const words = "What takes the server longer than a moment is a job: looking for duplicates, applying a plan, large imports. It goes on when this page is closed.";
  return panel("No jobs yet", el("p", {}, words), look);
}
