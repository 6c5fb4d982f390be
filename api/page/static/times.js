// Times as people say them, in the site's zone.
const context = JSON.parse(document.getElementById("context").textContent);
export const { language, zone, text } = context;
export const zh = language === "zh";
export const say = (key, values = {}) => text[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
/** Seconds since 1970 by the server's clock. */
const ahead = context.now - Date.now() / 1000;
export const nowS = () => Date.now() / 1000 + ahead;
const DAYS = { Mon: "周一", Tue: "周二", Wed: "周三", Thu: "周四", Fri: "周五", Sat: "周六", Sun: "周日" };
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const reader = new Intl.DateTimeFormat("en-GB", {
  timeZone: zone, weekday: "short", year: "numeric", month: "numeric", day: "numeric",
  hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
});

/** The wall-clock parts of an instant [s since 1970]. */
export function local(at) {
  const out = {};
  for (const { type, value } of reader.formatToParts(at * 1000)) out[type] = value;
  return { ...out, month: Number(out.month), day: Number(out.day), year: Number(out.year) };
}
export const clock = (at) => { const t = local(at); return `${t.hour}:${t.minute}`; };
export function daySaid(at, { year = false, named = true } = {}) {
  const t = local(at);
  if (zh) return `${year ? t.year + "年" : ""}${t.month}月${t.day}日${named ? " " + DAYS[t.weekday] : ""}`;
  return `${named ? t.weekday + " " : ""}${t.day} ${MONTHS[t.month - 1]}${year ? " " + t.year : ""}`;
}
export const monthSaid = (at) => { const t = local(at); return zh ? `${t.month}月` : MONTHS[t.month - 1]; };
export const full = (at) => { const t = local(at); return `${daySaid(at, { year: true })} ${t.hour}:${t.minute}:${t.second}`; };

/** How long since: "40 s ago". */
export function ago(at, now = nowS()) {
  const s = Math.max(0, now - at);
  if (s < 3) return say("just_now");
  if (s < 90) return say("seconds", { n: Math.round(s) });
  if (s < 5400) return say("minutes", { n: Math.round(s / 60) });
  if (s < 129600) return say("hours", { n: Math.round(s / 3600) });
  return say("days", { n: Math.round(s / 86400) });
}
