// What the key of this page may not do is not offered: this says why, and who can help.

import { el, icon } from "./elements.js";
import { hasKey } from "./keys.js";
import { keyFacts } from "./server.js";

const ROLES = ["read", "write", "dedup", "admin"];

/** Return a function that tells of a role why this page may not do what needs it, as a sentence; null where it may. */
export async function refusals(signal) {
  if (!hasKey()) return () => null; // no key is asked for, so everybody may do everything
  const { role } = await keyFacts(signal);
  return (needed) => {
    if (ROLES.indexOf(role) >= ROLES.indexOf(needed)) return null;
    return `Your key may ${role}; this needs one of role ${needed}. Whoever runs the server makes it with \`lookalike keys create --role ${needed}\`.`;
  };
}

/** Return null if this page may do what needs a role, else why not. */
export async function refusalOf(role, signal) {
  return (await refusals(signal))(role);
}

/** Return what stands in the place of a button that would be refused. */
export function whyNot(refusal) {
  const words = refusal.split("`").map((part, at) => (at % 2 ? el("code", {}, part) : part));
  return el("p", { class: "why-not" }, icon("key"), el("span", {}, ...words));
}
