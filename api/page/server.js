// Everything this page asks the server.

import { jobsOf } from "./events.js";
import { ask as send } from "./keys.js";
import { remedyFor } from "./picture_trouble.js";

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

// For people: the words of HTTP mean nothing to them.
const TITLES = {
  403: "Not allowed",
  404: "Not found",
  408: "Too slow",
  409: "Not possible now",
  412: "Changed meanwhile",
  413: "Too large",
  415: "Not a picture",
  422: "That does not work",
  429: "Too many requests at once",
  500: "Something went wrong",
  503: "Not available right now",
};
const LARGEST = 2048; // pixels of a thumbnail's longer side
const GONE = "The server does not answer. Is it still running? This page goes on by itself when it is back.";

/** Return all collections with their counts. */
export async function collections(signal) {
  return (await ask("/v1/collections", { signal })).items;
}

/** Return a page of images, {items, next_cursor}. */
export function images(collection, { limit, cursor, where, signal }) {
  return ask(`${inside(collection)}/images${parameters({ where, limit, cursor })}`, { signal });
}

/** Return what images can be narrowed by, {images, labels, folders, sizes, months, undated}. where: a condition or null. */
export function facets(collection, { where, signal }) {
  return ask(`${inside(collection)}/facets${parameters({ where })}`, { signal });
}

/** Return {data, done}: the map of a collection as bytes, null while it is made; done: the share of it that is, 0 to 1. */
export async function collectionMap(collection, signal) {
  const answer = await answered(`${inside(collection)}/map`, { headers: { Accept: "application/octet-stream" }, signal });
  if (answer.status === 202) return { data: null, done: (await answer.json()).done };
  return { data: await answer.arrayBuffer(), done: 1 };
}

/** Return the fields that conditions of a collection can name, [{field, type, values}], with frequent values. */
export async function fields(collection, signal) {
  return (await ask(`${inside(collection)}/fields`, { signal })).items;
}

/** Return the reports of dedup jobs that are kept, newest first. */
export async function reports(collection, signal) {
  return (await ask(`${inside(collection)}/dedup`, { signal })).items;
}

/** Start a job that looks for duplicates; return it. */
export function startDedup(collection, body, signal) {
  return post(`${inside(collection)}/dedup`, body, signal);
}

/** Return what this page may do, {role, collection, urls}; urls: search by the address of a picture. */
export function keyFacts(signal) {
  return ask("/v1/key", { signal });
}

/** Return a page of the plans of a collection, newest first. */
export function plans(collection, { limit, cursor, signal }) {
  return ask(`${inside(collection)}/plans${parameters({ limit, cursor })}`, { signal });
}

/** Return a plan with a page of its groups. */
export function planById(collection, id, { limit, cursor, signal }) {
  return ask(`${planned(collection, id)}${parameters({ limit, cursor })}`, { signal });
}

/** Return what a plan would do. wish: {action, near, maxFraction}. */
export function planPreview(collection, id, { action, near, maxFraction }, signal) {
  const asked = parameters({ action, include: near ? "near" : null, max_fraction: maxFraction });
  return ask(`${planned(collection, id)}/preview${asked}`, { signal });
}

/** Start a job that acts on a plan: `apply`, `undo` or `purge`, with its body; return it. */
export function actOnPlan(collection, id, what, body, signal) {
  return post(`${planned(collection, id)}/${what}`, body, signal);
}

/** Return a page of the jobs of a collection, newest first. */
export function jobs(collection, { limit, cursor, signal }) {
  return ask(`/v1/jobs${parameters({ collection, limit, cursor })}`, { signal });
}

/** Ask for the end of a job; return it as it is now. */
export function cancelJob(id) {
  return ask(`/v1/jobs/${encodeURIComponent(id)}/cancel`, { method: "POST" });
}

/** Tell the receiver of a job of its end once more; return the job as it is now. */
export function sendWebhook(id) {
  return ask(`/v1/jobs/${encodeURIComponent(id)}/webhook`, { method: "POST" });
}

/** Return a job as it is now and whenever it changes, until it has ended or the server ends the stream. */
export async function* jobEvents(id, signal) {
  const headers = { Accept: "text/event-stream" };
  const answer = await answered(`/v1/jobs/${encodeURIComponent(id)}/events`, { headers, signal });
  yield* jobsOf(answer.body);
}

/** Return the status of a collection. */
export function status(collection, signal) {
  return ask(`${inside(collection)}/status`, { signal });
}

/** Return a page of the files that could not be indexed, {items, next_cursor, reasons}. reason: only these, or null. */
export function failures(collection, { reason, limit, cursor, signal }) {
  return ask(`${inside(collection)}/failures${parameters({ reason, limit, cursor })}`, { signal });
}

/** Return a job. */
export function jobById(id, signal) {
  return ask(`/v1/jobs/${encodeURIComponent(id)}`, { signal });
}

/** Return a page of duplicate groups with the totals of the report. kinds: only such copies, null for all. */
export function groups(collection, { threshold, kinds, limit, cursor, signal }) {
  return ask(`${inside(collection)}/groups${parameters({ threshold, kind: kinds, limit, cursor })}`, { signal });
}

/** Return the address of the picture of what differs between a copy and its keeper. */
export function difference(collection, id, keeper) {
  return `${inside(collection)}/images/${encodeURIComponent(id)}/difference${parameters({ keeper })}`;
}

/** Write down what two contents are to each other. */
export async function sayVerdict(collection, { first, second, verdict }) {
  await post(`${inside(collection)}/verdicts`, { first, second, verdict });
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

/**
 * Return the matches of a query: {files} of this page, {id} of a stored image, or {url} of a picture on the web. where: a
 * condition, or null; accurate: look at pixels as well; box: a part of the picture in shares of it, or null; unique: of
 * copies of one another only one; like, unlike: ids of stored images that the matches shall be like as well, or not.
 */
export async function search(collection, query, { k, where, accurate, box, unique, like, unlike, signal }) {
  const path = `${inside(collection)}/search`;
  const wish = { k, where, accurate: accurate || null, unique: unique || null };
  const files = query.files ?? (box === null ? null : [await stored(collection, query.id, signal)]);
  if (files === null) {
    const examples = { like: like.length ? like : null, unlike: unlike.length ? unlike : null };
    return post(path, { id: query.id, url: query.url, ...given({ ...wish, ...examples }) }, signal);
  }
  return sent(path, await form(files, { ...wish, box, like, unlike }), signal);
}

/** Return what a multipart body holds. box: in shares of the picture, sent in its pixels. */
async function form(files, { box, like = [], unlike = [], ...wish }) {
  const body = new FormData();
  for (const file of files) body.append("image", file, file.name || "pasted picture");
  for (const id of like) body.append("like", id);
  for (const id of unlike) body.append("unlike", id);
  for (const [name, value] of Object.entries(given(wish))) body.append(name, String(value));
  if (box !== null) body.append("box", (await inPixels(files[0], box)).join(","));
  return body;
}

async function inPixels(file, [x, y, width, height]) {
  const bitmap = await createImageBitmap(file);
  const box = [x * bitmap.width, y * bitmap.height, width * bitmap.width, height * bitmap.height].map(Math.round);
  bitmap.close();
  return [box[0], box[1], Math.max(1, box[2]), Math.max(1, box[3])];
}

/** Return a stored image as a picture that can be sent: its largest thumbnail. */
async function stored(collection, id, signal) {
  const answer = await send(thumbnail(collection, id, LARGEST), { signal });
  if (!answer.ok) throw await problem(answer);
  return new File([await answer.blob()], `${id}.jpg`, { type: "image/jpeg" });
}

async function sent(path, body, signal) {
  try {
    return await ask(path, { method: "POST", body, signal });
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

/**
 * Return why a picture, {file} or {id} of a stored one, and a stored image are the same: {facts} with the model that lays
 * one over the other, and {picture}, a blob that draws it.
 */
export async function explanation(collection, { file, id, box }, other) {
  const shown = file ?? (await stored(collection, id));
  const url = `${inside(collection)}/images/${encodeURIComponent(other)}/explain`;
  const body = await form([shown], { box });
  const answers = ["application/json", "image/png"].map((kind) => send(url, { method: "POST", body, headers: { Accept: kind } }));
  const [facts, picture] = await Promise.all(answers);
  for (const answer of [facts, picture]) if (!answer.ok) throw await problem(answer);
  return { facts: await facts.json(), picture: await picture.blob(), query: shown };
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

function inside(collection) {
  return `/v1/collections/${encodeURIComponent(collection)}`;
}

function planned(collection, id) {
  return `${inside(collection)}/plans/${encodeURIComponent(id)}`;
}

/** Send an object as JSON. */
function post(path, body, signal) {
  return ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });
}

function parameters(values) {
  const shown = Object.entries(given(values)).flatMap(([name, value]) => [value].flat().map((one) => [name, one]));
  return shown.length ? `?${new URLSearchParams(shown)}` : "";
}

/** Return the values that are there. */
function given(values) {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null && value !== undefined));
}

/** Return the server's answer, whatever is in it. */
async function answered(path, options) {
  let response;
  try {
    response = await send(path, { ...options, cache: "no-store" });
  } catch (error) {
    throw error.name === "AbortError" ? error : new ServerGone(GONE);
  }
  if (!response.ok) throw await problem(response);
  return response;
}

async function ask(path, options) {
  const response = await answered(path, options);
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
  const said = typeof body.detail === "string" && body.detail ? body.detail : fallback;
  const detail = remedyFor(body.reason) ?? said;
  const title = body.reason ? "This picture cannot be read" : (TITLES[response.status] ?? "That does not work");
  return new Problem(response.status, title, detail, body.position);
}
