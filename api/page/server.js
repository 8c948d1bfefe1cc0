// Everything this page asks the server.

import { ask as send } from "./keys.js";

/** The server answered with a problem document. */
class Problem extends Error {
  constructor(status, title, detail, position) {
    super(detail);
    this.status = status;
    this.title = title;
    // Of the wrong letter of a condition, from 1.
    this.position = position;
  }
}

/** The server did not answer at all. */
export class ServerGone extends Error {}

const TITLES = { 403: "Not allowed", 404: "Not found", 413: "Too large", 415: "Not a picture", 503: "Not available right now" };
const GONE = "The server does not answer. Is it still running? This page goes on by itself when it is back.";

/** Return all collections with their counts. */
export async function collections(signal) {
  return (await ask("/v1/collections", { signal })).items;
}

/** Return a page of images, {items, next_cursor}. */
export function images(collection, { limit, cursor, signal }) {
  return ask(`${inside(collection)}/images${parameters({ limit, cursor })}`, { signal });
}

/** Return the reports of dedup jobs that are kept, newest first. */
export async function reports(collection, signal) {
  return (await ask(`${inside(collection)}/dedup`, { signal })).items;
}

/** Start a job that looks for duplicates; return it. */
export function startDedup(collection, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return ask(`${inside(collection)}/dedup`, { method: "POST", headers, body: JSON.stringify(body), signal });
}

/** Return a job. */
export function jobById(id, signal) {
  return ask(`/v1/jobs/${encodeURIComponent(id)}`, { signal });
}

/** Return a page of duplicate groups with the totals of the report. kind: only such copies, null for all. */
export function groups(collection, { threshold, kind, limit, cursor, signal }) {
  return ask(`${inside(collection)}/groups${parameters({ threshold, kind, limit, cursor })}`, { signal });
}

/** Return the address of the picture of what differs between a copy and its keeper. */
export function difference(collection, id, keeper) {
  return `${inside(collection)}/images/${encodeURIComponent(id)}/difference${parameters({ keeper })}`;
}

/** Write down what two contents are to each other. */
export async function sayVerdict(collection, { first, second, verdict }) {
  const headers = { "Content-Type": "application/json" };
  await ask(`${inside(collection)}/verdicts`, { method: "POST", headers, body: JSON.stringify({ first, second, verdict }) });
}

/** Take back what was said of two contents. */
export async function takeBackVerdict(collection, first, second) {
  await ask(`${inside(collection)}/verdicts/${first}/${second}`, { method: "DELETE" });
}

/** Return one image. */
export function imageById(collection, id, signal) {
  return ask(`${inside(collection)}/images/${encodeURIComponent(id)}`, { signal });
}

/** Return a page of labels, most frequent first, {items: [{label, images}], next_cursor}. */
export function labels(collection, { limit, signal }) {
  return ask(`${inside(collection)}/labels${parameters({ limit })}`, { signal });
}

/** Return the images closest to a stored one. where: a condition, or null; accurate: look at pixels as well. */
export function searchByImage(collection, id, { k, where, accurate, signal }) {
  const headers = { "Content-Type": "application/json" };
  const body = JSON.stringify({ id, k, where, accurate });
  return ask(`${inside(collection)}/search`, { method: "POST", headers, body, signal });
}

/** Return the images closest to a picture. where: a condition, or null; accurate: look at pixels as well. */
export async function searchByPicture(collection, file, { k, where, accurate, signal }) {
  const body = new FormData();
  body.append("image", file, file.name || "pasted picture");
  body.append("k", String(k));
  if (where !== null) body.append("where", where);
  if (accurate) body.append("accurate", "true");
  try {
    return await ask(`${inside(collection)}/search`, { method: "POST", body, signal });
  } catch (error) {
    // A server may hang up on a body that is too large before the browser reads its answer.
    if (error instanceof ServerGone && (await alive())) {
      throw new Problem(
        413,
        TITLES[413],
        "The server ended the upload before the picture was complete; it may be too large.",
      );
    }
    throw error;
  }
}

/** Return a picture, as a blob, that shows why a picture and a stored image are the same. */
export async function explanation(collection, file, id) {
  const body = new FormData();
  body.append("image", file, file.name || "pasted picture");
  const url = `${inside(collection)}/images/${encodeURIComponent(id)}/explain`;
  const answer = await send(url, { method: "POST", body, headers: { Accept: "image/png" } });
  if (!answer.ok) throw new Problem(answer.status, "", (await answer.json()).detail);
  return answer.blob();
}

/** Return why searches are not answered yet, null when they are. */
export async function notReady(signal) {
  try {
    await ask("/readyz", { signal });
    return null;
  } catch (error) {
    if (error instanceof Problem && error.status === 503) return error.message;
    throw error;
  }
}

/** Tell whether the server answers anything. */
export async function alive() {
  try {
    return (await fetch("/healthz", { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}

/** Return the address of a small picture; size: its long side in pixels. */
export function thumbnail(collection, id, size) {
  return `${inside(collection)}/images/${encodeURIComponent(id)}/thumbnail?size=${size}`;
}

/** The condition that an image has a label and fulfils a filter, each of them or null; null for every image. */
export function condition(label, filter) {
  const having = label === null ? null : `label = "${label.replaceAll('"', '""')}"`;
  return having !== null && filter !== null ? `(${filter}) and ${having}` : (filter ?? having);
}

/** How many letters stand before the filter in a condition. */
export function beforeFilter(label) {
  return label === null ? 0 : 1;
}

function inside(collection) {
  return `/v1/collections/${encodeURIComponent(collection)}`;
}

function parameters(values) {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

async function ask(path, options) {
  let response;
  try {
    response = await send(path, { ...options, cache: "no-store" });
  } catch (error) {
    throw error.name === "AbortError" ? error : new ServerGone(GONE);
  }
  if (!response.ok) throw await problem(response);
  if (response.status === 204) return null;
  try {
    return await response.json();
  } catch (error) {
    throw error.name === "AbortError" ? error : new ServerGone(GONE);
  }
}

async function problem(response) {
  const fallback = `the server answered ${response.status} ${response.statusText}`.trim();
  const body = await response.json().catch(() => ({}));
  const detail = typeof body.detail === "string" && body.detail ? body.detail : fallback;
  const title = body.reason ? "This picture cannot be read" : (TITLES[response.status] ?? body.title ?? "Error");
  return new Problem(response.status, title, detail, body.position);
}
