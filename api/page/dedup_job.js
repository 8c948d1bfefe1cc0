// Looking for duplicates is a job of the server; this waits for it, and tells how far it is.

import { jobById, reports, startDedup } from "./server.js";
import { number } from "./words.js";

const LOOK_MS = 500;

/** Make sure that there is a report: with a threshold that somebody chose, or null for whichever was made last. */
export async function ensureReport(collection, threshold, { signal, told }) {
  const kept = (await reports(collection, signal)).filter(({ between, within }) => between === null && within === null);
  const fits = (one) => one.threshold_source === "user" && one.threshold === threshold;
  if (threshold === null ? kept.length : kept.some(fits)) return;
  await lookForDuplicates(collection, threshold, { signal, told });
}

/** Look for duplicates; done when the report is there. told: called with a line about how far it is. */
export async function lookForDuplicates(collection, threshold, { signal, told }) {
  // Calibrating takes minutes, and nobody asked for it here.
  const wanted = threshold === null ? { calibrate: false } : { threshold };
  let job = await startDedup(collection, wanted, signal);
  while (job.state === "queued" || job.state === "running") {
    told(progressLine(job));
    await rest(signal);
    job = await jobById(job.id, signal);
  }
  if (job.state === "done") return;
  throw new Error(job.problem?.detail ?? "Somebody ended the job that looks for duplicates.");
}

function progressLine({ state, progress }) {
  if (state === "queued") return "Waiting for other jobs of the server";
  if (progress === null) return "Looking for duplicates";
  const of = progress.total === null ? "" : ` ${number(progress.done)} of ${number(progress.total)}`;
  return `Looking for duplicates:${of} ${progress.stage}`;
}

/** Wait a moment, or until the view ends. */
function rest(signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, LOOK_MS);
    signal.addEventListener("abort", stop, { once: true });
  });
}
