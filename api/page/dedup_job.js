// Looking for duplicates is a job of the server; this starts it and waits for its report.

import { follow } from "./following.js";
import { reports, startDedup } from "./server.js";

/** Tell whether there is a report to show: with a threshold that somebody chose, or null for whichever was made last. */
export async function hasReport(collection, threshold, signal) {
  const kept = (await reports(collection, signal)).filter(({ between, within }) => between === null && within === null);
  const fits = (one) => one.threshold_source === "user" && one.threshold === threshold;
  return threshold === null ? kept.length > 0 : kept.some(fits);
}

/** Look for duplicates; done when the report is there. told: called with the job now and whenever it changes. */
export async function lookForDuplicates(collection, threshold, { signal, told }) {
  // Calibrating takes minutes, and nobody asked for it here.
  const wanted = threshold === null ? { calibrate: false } : { threshold };
  const job = await follow(await startDedup(collection, wanted, signal), { signal, told });
  if (job.state === "done") return;
  throw new Error(job.problem?.detail ?? "Somebody ended the job that looks for duplicates.");
}
