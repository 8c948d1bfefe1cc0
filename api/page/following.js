// Following a job of the server until it ends: by its events, or where these cannot be had by asking again and again.

import { jobById, jobEvents } from "./server.js";

const ASK_MS = 1000;
const ENDED = new Set(["done", "failed", "cancelled"]);

/** Tell whether a job has ended. */
export function hasEnded(job) {
  return ENDED.has(job.state);
}

/** Return a job once it has ended. told: called with the job now and whenever it changes; signal: ends the wait. */
export async function follow(job, { signal, told }) {
  told(job);
  if (hasEnded(job)) return job;
  try {
    for await (const changed of jobEvents(job.id, signal)) {
      told(changed);
      if (hasEnded(changed)) return changed;
    }
  } catch (error) {
    if (error.name === "AbortError" || error.status === 401 || error.status === 404) throw error;
    // Too many listen already, or something on the way keeps events back.
  }
  return poll(job, { signal, told });
}

async function poll(job, { signal, told }) {
  while (!hasEnded(job)) {
    await rest(ASK_MS, signal);
    job = await jobById(job.id, signal);
    told(job);
  }
  return job;
}

/** Wait, or until the view ends. */
export function rest(ms, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
  });
}
