// Forms that ask the API: what a person says of an incident, and another setting tried on the past.
import { daySaid, language, say } from "./times.js";

async function asked(form, url, options) {
  const reply = form.querySelector("[data-reply]"), button = form.querySelector("button");
  button.disabled = true;
  reply.textContent = say("wait");
  try {
    const answer = await fetch(url, options), body = await answer.json();
    if (!answer.ok) throw new Error(answer.status === 401 ? say("wrong_token") : body.detail || `HTTP ${answer.status}`);
    reply.textContent = "";
    return body;
  } catch (error) {
    reply.textContent = error.message;
    return null;
  } finally {
    button.disabled = false;
  }
}

async function sayIt(event) {
  event.preventDefault();
  const form = event.target, given = Object.fromEntries(new FormData(form));
  const headers = { "content-type": "application/json" };
  if (given.token) headers.authorization = `Bearer ${given.token}`; // who is signed in needs none
  const body = JSON.stringify({ feedback: given.feedback, note: given.note, author: given.author });
  if (await asked(form, form.dataset.say, { method: "POST", headers, body })) location.reload();
}

async function tryIt(event) {
  event.preventDefault();
  const form = event.target, list = form.querySelector("[data-found]");
  list.replaceChildren();
  const query = new URLSearchParams({ node: form.dataset.node, alarms_per_month: form.elements.alarms_per_month.value });
  const found = await asked(form, `${form.dataset.try}?${query}`, {});
  if (!found) return;
  const line = (text) => Object.assign(document.createElement("li"), { textContent: text });
  const day = (at) => daySaid(Date.parse(at) / 1000, { year: true });
  list.append(line(say(found.incidents === 1 ? "tried_one" : "tried", { n: found.incidents, from: day(found.start), to: day(found.end) })));
  for (const row of found.rows) list.append(line(`${day(row.since)}: ${row.text[language]}`));
  list.append(line(found.missed.length ? say("missed", { n: found.missed.length }) : say("missed_none")));
  for (const row of found.missed) list.append(line(`${day(row.since)}: ${row.text[language]}`));
}

export function startForms() {
  for (const form of document.querySelectorAll("form[data-say]")) form.addEventListener("submit", sayIt);
  for (const form of document.querySelectorAll("form[data-try]")) form.addEventListener("submit", tryIt);
}
