// The page of docs: what /openapi.json says, for people. Nothing of it is written by hand, so nothing of it is old.

import { el } from "./elements.js";

const METHODS = ["get", "post", "put", "patch", "delete"];
const main = document.getElementById("operations");

try {
  const answer = await fetch("/openapi.json");
  if (!answer.ok) throw new Error(`/openapi.json is answered with ${answer.status}`);
  show(await answer.json());
} catch (error) {
  main.replaceChildren(el("p", { role: "alert" }, `The description cannot be read: ${error.message}`));
}
main.removeAttribute("aria-busy");

function show(description) {
  document.title = `${description.info.title}: HTTP`;
  const sections = bySection(description);
  main.replaceChildren(
    el("h1", {}, `${description.info.title}, over HTTP`),
    el("p", {}, description.info.description),
    ...sections.flatMap((section) => [
      el("h2", {}, capital(section.name)),
      section.description && el("p", { class: "kind" }, about(section.description)),
      ...section.operations.map((one) => operation(one, description)),
    ]).filter(Boolean),
  );
  document.getElementById("contents").replaceChildren(
    ...sections.flatMap((section) => [
      el("h2", {}, capital(section.name)),
      el("ul", {}, ...section.operations.map((one) => el("li", {}, el("a", { href: `#${one.id}` }, ...codes(one.summary))))),
    ]),
  );
  if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

/** Return [{name, description, operations}], in the order of the description's tags; what has none comes last. */
function bySection(description) {
  const sections = new Map((description.tags ?? []).map((tag) => [tag.name, { ...tag, operations: [] }]));
  sections.set("server", { name: "server", operations: [] });
  for (const [path, methods] of Object.entries(description.paths)) {
    for (const method of METHODS.filter((name) => name in methods)) {
      const told = methods[method];
      const section = sections.get(told.tags?.[0]) ?? sections.get("server");
      section.operations.push({ ...told, method, path, id: told.operationId, summary: told.summary ?? path });
    }
  }
  return [...sections.values()].filter((section) => section.operations.length > 0);
}

function operation(one, description) {
  const { schemas } = description.components;
  return el(
    "section",
    { class: "operation", id: one.id, "aria-labelledby": `${one.id}-name` },
    el("h3", { id: `${one.id}-name` }, el("span", { class: "method" }, one.method.toUpperCase()), " ", one.path),
    el("p", {}, one.description ?? one.summary),
    one.security ? null : el("p", { class: "kind" }, "Open to everybody, without a key."),
    ...rows(
      "Parameters",
      (one.parameters ?? []).map((given) => [
        given.name + (given.required ? " *" : ""),
        `in the ${given.in}, ${kindOf(given.schema)}`,
        given.description ?? given.schema.description,
      ]),
    ),
    ...Object.entries(one.requestBody?.content ?? {}).flatMap(([type, content]) => body(one, type, content, schemas)),
    ...rows("Answers", Object.entries(one.responses).map(([status, told]) => answer(status, told))),
  );
}

function body(one, type, content, schemas) {
  const shapes = alternatives(content.schema, schemas);
  return shapes.flatMap((shape) => [
    ...rows(`Body: ${type}`, fieldsOf(shape)),
    ...(shape.examples ?? []).map((example) => el("pre", {}, type.startsWith("multipart/") ? curl(one, example) : JSON.stringify(example, null, 1))),
  ]);
}

/** Return the command that sends a form. */
function curl(one, example) {
  const fields = Object.entries(example).flatMap(([name, value]) => [value].flat().map((each) => `${name}=${each}`));
  const parts = fields.map((field) => ` -F ${/[^\w@.,/=-]/.test(field) ? `'${field}'` : field}`);
  return `curl${one.method === "post" ? "" : ` -X ${one.method.toUpperCase()}`} ${location.origin}${one.path}${parts.join("")}`;
}

function answer(status, told) {
  const [type, content] = Object.entries(told.content ?? {})[0] ?? [];
  const shape = content?.schema ? kindOf(content.schema) : "";
  const words = told.description === "Successful Response" ? null : told.description; // what nobody wrote
  return [status, [type, shape].filter(Boolean).join(", "), words];
}

/** Return a heading and a table of [name, kind, words], or nothing. */
function rows(title, found) {
  if (found.length === 0) return [];
  return [
    el("h4", {}, title),
    el("table", {}, ...found.map(([name, kind, words]) =>
      el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, el("span", { class: "kind" }, kind), words ? ` ${words}` : null)),
    )),
  ];
}

function fieldsOf(shape) {
  const required = new Set(shape.required ?? []);
  return Object.entries(shape.properties ?? {}).map(([name, told]) => [
    name + (required.has(name) ? " *" : ""),
    kindOf(told),
    told.description,
  ]);
}

function resolved(schema, schemas) {
  return schema.$ref ? schemas[nameOf(schema)] : schema;
}

function alternatives(schema, schemas) {
  const found = resolved(schema, schemas);
  return (found.anyOf ?? [found]).map((one) => resolved(one, schemas));
}

function nameOf(schema) {
  return schema.$ref.split("/").pop();
}

/** Return a text with what stands in back quotes as code. */
function codes(text) {
  return text.split("`").map((part, at) => (at % 2 ? el("code", {}, part) : part));
}

/** Return what a section is about: the words of its module, without the module. */
function about(text) {
  return capital(text.replace(/^The handlers? (?:of|that) (?:[\w ]+: )?/, "").trim());
}

function capital(text) {
  return text[0].toUpperCase() + text.slice(1);
}

/** Return in a few words what a schema takes. */
function kindOf(schema) {
  if (schema.$ref) return nameOf(schema).replace(/^Page_(\w+)_$/, "list of $1, a page of it");
  if (schema.anyOf) return schema.anyOf.map(kindOf).join(" or ");
  if (schema.enum) return schema.enum.join(", ");
  if (schema.type === "array") return `list of ${kindOf(schema.items ?? {})}`;
  const limits = [
    schema.minimum !== undefined && `from ${schema.minimum}`,
    schema.maximum !== undefined && `to ${schema.maximum}`,
    schema.maxLength !== undefined && `at most ${schema.maxLength} letters`,
    schema.default !== undefined && schema.default !== null && `default ${JSON.stringify(schema.default)}`,
  ].filter(Boolean);
  return [schema.format === "binary" ? "file" : (schema.type ?? "anything"), ...limits].join(", ");
}
