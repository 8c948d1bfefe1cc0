// The report that is one file: filters, and the review with the keyboard. Verdicts stay in this browser until they are
// saved as CSV.

import { asked, SAYING, Verdicts, WORDS } from "../page/review.js";

const report = document.documentElement.dataset.report;
const place = `lookalike verdicts ${report}`;
const members = [...document.querySelectorAll(".member[data-first]")];
const found = (selector) => document.querySelector(selector);
const verdicts = new Verdicts(remembered());
let current = null;

function remembered() {
  try {
    return JSON.parse(localStorage.getItem(place) ?? "[]");
  } catch {
    return []; // a browser that keeps nothing for files, or what another program left there
  }
}

function remember() {
  try {
    localStorage.setItem(place, JSON.stringify(verdicts.all()));
    found("#kept").textContent = "";
  } catch {
    found("#kept").textContent = "This browser keeps nothing for this file: save the verdicts before you close it.";
  }
}

function shown() {
  return members.filter((member) => !member.hidden && !member.closest(".group").hidden);
}

function moveTo(member) {
  if (!member) return;
  if (current) current.tabIndex = -1;
  current = member;
  current.tabIndex = 0;
  current.focus({ preventScroll: true });
  current.scrollIntoView({ block: "nearest" });
}

function step(by) {
  const list = shown();
  const at = list.indexOf(current);
  moveTo(at < 0 ? list[0] : list[Math.min(list.length - 1, Math.max(0, at + by))]);
}

function mark(member) {
  const said = verdicts.of(member.dataset.first, member.dataset.second);
  if (said === null) delete member.dataset.said;
  else member.dataset.said = said;
  member.querySelector(".said").textContent = said === null ? "" : WORDS[said];
  for (const button of member.querySelectorAll("[data-say]"))
    button.setAttribute("aria-pressed", String(button.dataset.say === said));
}

function count() {
  const done = members.filter((member) => member.dataset.said).length;
  found("#progress").value = done;
  found("#reviewed").textContent = `${done} of ${members.length} reviewed`;
  found("#save").disabled = verdicts.size === 0;
}

function say(member, verdict, onward) {
  verdicts.say(member.dataset.first, member.dataset.second, verdict);
  changed(member);
  announce(`${WORDS[verdict]}: ${member.dataset.name}`);
  if (onward) step(1);
}

function undo() {
  const pair = verdicts.undo();
  if (pair === null) return announce("Nothing to undo");
  const same = members.filter((one) => pair.includes(one.dataset.first) && pair.includes(one.dataset.second));
  same.forEach(changed);
  moveTo(same[0]);
  return announce("Undone");
}

/** Show what is said of a member now, and of others with the same contents. */
function changed(member) {
  const { first, second } = member.dataset;
  members.filter((one) => one.dataset.first === first && one.dataset.second === second).forEach(mark);
  remember();
  count();
}

function announce(text) {
  found("#told").textContent = text;
}

function compare(member) {
  const button = member?.querySelector(".look");
  if (button) button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
}

function filter(kind) {
  for (const chip of document.querySelectorAll("[data-kind-chip]"))
    chip.setAttribute("aria-pressed", String(chip.dataset.kindChip === kind));
  const open = found("#open").checked;
  for (const group of document.querySelectorAll(".group")) {
    let some = false;
    for (const member of group.querySelectorAll(".member")) {
      const fits = kind === "" || member.dataset.kind === kind;
      member.hidden = !fits || (open && (!member.dataset.first || Boolean(member.dataset.said)));
      some ||= !member.hidden;
    }
    group.hidden = !some;
  }
  found("#none").hidden = shown().length > 0 || document.querySelector(".group:not([hidden])") !== null;
}

function chosenKind() {
  return found("[data-kind-chip][aria-pressed=true]").dataset.kindChip;
}

function save() {
  const address = URL.createObjectURL(new Blob([verdicts.csv()], { type: "text/csv" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = "verdicts.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
  announce(`${verdicts.size} verdicts saved; take them over with: lookalike verdicts import verdicts.csv`);
}

document.addEventListener("keydown", (event) => {
  const wish = asked(event);
  if (wish === null) return;
  event.preventDefault();
  if (wish.move) step(wish.move);
  else if (wish.undo) undo();
  else if (!current || !shown().includes(current)) step(1);
  else if (wish.compare) compare(current);
  else if (wish.say) say(current, wish.say, true);
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  const member = event.target.closest(".member[data-first]");
  if (member) moveTo(member);
  if (!button) return;
  if (button.dataset.say) say(member, button.dataset.say, false);
  else if (button.matches(".look")) compare(button.closest(".member"));
  else if (button.dataset.kindChip !== undefined) filter(button.dataset.kindChip);
  else if (button.id === "undo") undo();
  else if (button.id === "save") save();
});

found("#open").addEventListener("change", () => filter(chosenKind()));
found("#progress").max = Math.max(1, members.length);
found("#tools").hidden = false;
members.forEach(mark);
count();
