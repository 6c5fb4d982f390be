// The page comes alive: charts, the figures of this moment, and fresh tables now and then.
import { refreshCharts, startCharts } from "./charts.js";
import { typeset } from "./numbers.js";
import { startForms } from "./say.js";
import { ago, clock, daySaid, nowS, say } from "./times.js";

const REFRESH_MS = 60_000;
let power = null;

function showPower() {
  if (!power) return;
  const it = typeset(power.value, "W");
  for (const place of document.querySelectorAll('[data-now="power"]')) place.textContent = it.text;
  for (const place of document.querySelectorAll('[data-now="power-unit"]')) place.textContent = it.unit;
  const figure = document.getElementById("power"), note = document.getElementById("power-note");
  if (figure) figure.classList.toggle("stale", power.stale);
  if (!note || power.at === null) return;
  const today = daySaid(power.at) === daySaid(nowS());
  const since = today ? clock(power.at) : `${daySaid(power.at)} ${clock(power.at)}`;
  note.textContent = power.stale ? say("stale", { since, ago: ago(power.at) }) : ago(power.at);
}

function listen(node) {
  const source = new EventSource(`/page/live/${encodeURIComponent(node)}`);
  const line = document.getElementById("live-line");
  const take = (event) => {
    const news = JSON.parse(event.data);
    power = news.power;
    line.hidden = true;
    showPower();
    const attention = document.getElementById("attention");
    if (attention) {
      attention.hidden = !news.needs;
      document.getElementById("attention-count").textContent = news.needs;
      const text = say(news.needs === 1 ? "one" : "other", { n: news.needs });
      attention.title = text;
      attention.querySelector(".sr").textContent = text;
    }
  };
  source.addEventListener("message", take);
  source.addEventListener("quiet", take);
  let failing = null;
  source.addEventListener("error", () => { failing ??= setTimeout(() => { line.hidden = source.readyState === EventSource.OPEN; failing = null; }, 3000); });
  source.addEventListener("open", () => { line.hidden = true; });
  addEventListener("pagehide", () => source.close());
}

/** Sentence, tiles and tables, taken fresh from the server; what is being read or pointed at stays. */
async function refresh() {
  if (document.hidden) return;
  try {
    const reply = await fetch(location.href, { headers: { accept: "text/html" } });
    if (reply.redirected && new URL(reply.url).pathname === "/sign-in") return location.assign(reply.url);
    if (!reply.ok) return;
    const fresh = new DOMParser().parseFromString(await reply.text(), "text/html");
    for (const old of document.querySelectorAll("[data-refresh]")) {
      const replacement = fresh.getElementById(old.id);
      if (!replacement || old.contains(document.activeElement) || old.innerHTML === replacement.innerHTML) continue;
      const open = [...old.querySelectorAll("details")].map((details) => details.open);
      old.replaceChildren(...replacement.childNodes);
      old.querySelectorAll("details").forEach((details, i) => { details.open = open[i] ?? details.open; });
    }
    refreshCharts();
  } catch { /* the line under the top bar says that the connection is lost */ }
}

startCharts();
startForms();
const live = document.querySelector("[data-live]");
if (live) listen(live.dataset.live);
setInterval(showPower, 1000);
const until = document.body.dataset.now === "yes" ? REFRESH_MS : 0;
if (until) setInterval(refresh, until);
const current = document.querySelector(".choices [aria-current]");
if (current && current.closest(".period-in")) {
  const bar = current.closest(".period-in");
  if (current.offsetLeft + current.offsetWidth > bar.clientWidth) bar.scrollLeft = Math.max(0, current.offsetLeft - bar.clientWidth / 2);
}
