// The charts of a page: loading, empty, failed, full; tooltip, zoom, keys, table.
import { timeChart } from "./draw.js";
import { heatMap } from "./heat.js";
import { THIN, percent, said } from "./numbers.js";
import { clock, daySaid, language, say } from "./times.js";

const SLOW_MS = 300, ROWS_AT_MOST = 2000;
const charts = [];

const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

class Chart {
  constructor(figure) {
    this.figure = figure;
    this.plot = figure.querySelector(".plot");
    this.words = figure.querySelector(".chart-words");
    this.keys = figure.querySelector(".keys");
    this.table = figure.querySelector(".chart-table");
    this.button = figure.querySelector("[data-table]");
    this.csv = figure.querySelector("[data-csv]");
    this.src = figure.dataset.src;
    this.kind = figure.dataset.chart;
    this.skeleton = this.plot.querySelector(".wait");
    this.tip = element("div", { className: "tip", role: "status" });
    this.zoom = null;
    this.asked = 0;
    this.button.addEventListener("click", () => this.toggleTable());
    this.plot.addEventListener("keydown", (event) => this.onKey(event));
    this.plot.addEventListener("dblclick", () => this.zoomTo(null));
    this.plot.addEventListener("mouseleave", () => this.hideTip());
    this.plot.addEventListener("blur", () => this.hideTip());
    this.load();
  }

  paint = () => {
    const style = getComputedStyle(this.figure), of = (name) => style.getPropertyValue(name).trim();
    const carrier = this.figure.dataset.carrier || "electricity";
    return { colour: of(`--${carrier}`), card: of("--card"), line: of("--line"), quiet: of("--quiet"), ink: of("--ink"), expected: of("--expected"), family: style.fontFamily };
  };

  async load() {
    const turn = ++this.asked;
    this.figure.dataset.state = "loading";
    if (!this.drawn) this.plot.replaceChildren(this.skeleton);
    const slow = setTimeout(() => this.skeleton.classList.add("slow"), SLOW_MS);
    try {
      const url = new URL(this.src, location.href);
      if (this.zoom) { url.searchParams.set("from", this.zoom[0]); url.searchParams.set("to", this.zoom[1]); }
      const reply = await fetch(url, { headers: { accept: "application/json" } });
      if (!reply.ok) throw new Error(`HTTP ${reply.status}`);
      const data = await reply.json();
      if (turn === this.asked) this.show(data);
    } catch (error) {
      if (turn === this.asked) this.fail(error);
    } finally {
      clearTimeout(slow);
      this.skeleton.classList.remove("slow");
    }
  }

  fail(error) {
    this.figure.dataset.state = "failed";
    this.destroy();
    const again = element("button", { type: "button", className: "button", textContent: say("again") });
    again.addEventListener("click", () => this.load());
    this.plot.replaceChildren(element("div", { className: "failed", role: "alert" },
      element("strong", { textContent: say("failed") }), element("span", { textContent: `${say("still")} (${error.message})` }), again));
    this.words.textContent = "";
  }

  show(data) {
    this.data = data;
    this.destroy();
    this.words.textContent = data.words;
    this.csv.href = data.csv;
    if (data.empty) {
      this.figure.dataset.state = "empty";
      this.plot.replaceChildren(element("div", { className: "empty", textContent: say("empty") }));
      this.keys.replaceChildren();
      this.words.textContent = "";
      return;
    }
    this.draw();
    this.figure.dataset.state = "full";
    if (!this.table.hidden) this.fillTable();
  }

  destroy() {
    if (this.drawn && this.drawn.destroy) this.drawn.destroy();
    this.drawn = null;
    this.hideTip();
  }

  draw() {
    this.destroy();
    this.plot.replaceChildren();
    if (this.kind === "heat") {
      this.drawn = heatMap(this.plot, this.data, this.paint);
      this.plot.onmousemove = (event) => {
        const box = this.plot.getBoundingClientRect();
        this.tipHeat(this.drawn.at(event.clientX - box.left, event.clientY - box.top));
      };
      this.plot.onclick = (event) => {
        const box = this.plot.getBoundingClientRect();
        this.openDay(this.drawn.at(event.clientX - box.left, event.clientY - box.top));
      };
    } else {
      this.drawn = timeChart(this.plot, this.data, this.paint, (_, i) => this.tipTime(i), (a, b) => this.zoomTo([a, b]));
    }
    this.plot.append(this.tip);
    this.drawKeys();
  }

  /** What the lines mean, said once above the chart; nothing when there is only one. */
  drawKeys() {
    const { labels, estimated, before, kind, low, expected } = this.data, rows = [];
    const mark = (className, shape) => {
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      svg.setAttribute("viewBox", "0 0 24 12");
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("d", shape); path.setAttribute("class", className);
      svg.append(path);
      return svg;
    };
    const LINE = "M1 6h22", BOX = "M1 2h22v8H1z", HATCH = "M1 10l8-8M8 10l8-8M15 10l8-8";
    if (labels && before) {
      rows.push([mark(kind === "bars" ? "key-box" : "key-line", kind === "bars" ? BOX : LINE), labels.value]);
      rows.push([mark((kind === "bars" ? "key-box" : "key-line") + " key-pale", kind === "bars" ? BOX : LINE), labels.before]);
    }
    if (expected) {
      rows.push([mark(kind === "bars" ? "key-box" : "key-line", kind === "bars" ? BOX : LINE), labels.value || say("value")]);
      rows.push([mark("key-line key-expected", "M1 6h6M10 6h6M19 6h4"), labels.expected || say("expected")], [mark("key-box key-band", BOX), say("band")]);
    }
    if (estimated) rows.push([mark("key-line", HATCH), say("estimated")]);
    if (low) rows.push([mark("key-line", LINE), say("mean")], [mark("key-box key-pale", BOX), `${say("low")} – ${say("high")}`]);
    if (kind === "heat") { const s = this.drawn.steps(); rows.push([mark("key-box key-palest", BOX), said(s[0], this.data.unit)], [mark("key-box", BOX), said(s[s.length - 1], this.data.unit)]); }
    if (this.zoom) rows.push(["", say("zoomed")]);
    else if (kind === "readings" && this.drawn.scales.y.min > 0) rows.push(["", say("not_zero")]);
    this.keys.replaceChildren(...rows.map(([icon, text]) => element("span", { className: "key" }, icon, text || "")));
  }

  stepText(i) {
    const { x, end, grain } = this.data;
    if (grain === "raw") return `${daySaid(x[i])} ${clock(x[i])}`;
    if (grain === "month" || grain === "day") return daySaid(x[i], { year: grain === "month" });
    const until = end ? end[i] : x[i] + (grain === "hour" ? 3600 : 900);
    return `${daySaid(x[i])} ${clock(x[i])}–${clock(until)}`;
  }

  rows(i) {
    const { value, before, unit, estimated, coverage, low, high, labels, expected } = this.data, out = [];
    const known = value[i] !== null;
    out.push([(labels && labels.value) || say("value"), known ? said(value[i], unit) : say("nothing")]);
    if (before) out.push([labels.before || say("before"), before[i] === null ? "–" : said(before[i], unit)]);
    if (before && known && before[i]) {
      const change = (value[i] - before[i]) / before[i];
      out.push([say("difference"), (change < 0 ? "−" : "+") + percent(change, language)]);
    }
    if (expected) {
      out.push([labels.expected || say("expected"), expected[i] === null ? "–" : said(expected[i], unit)]);
      if (expected[i] !== null) out.push([say("band"), `${said(this.data.expected_low[i], unit)} – ${said(this.data.expected_high[i], unit)}`]);
      if (known && expected[i]) out.push([say("difference"), (value[i] < expected[i] ? "−" : "+") + percent((value[i] - expected[i]) / expected[i], language)]);
    }
    if (low && known) out.push([`${say("low")} – ${say("high")}`, `${said(low[i], unit)} – ${said(high[i], unit)}`]);
    if (known && estimated && estimated[i] > 0) out.push([say("estimated"), said(estimated[i], unit)]);
    else if (known && coverage && coverage[i] !== null && coverage[i] < 0.95) out.push(["", say("coverage", { share: percent(coverage[i], language) })]);
    return out;
  }

  tipTime(i) {
    if (i === null || i === undefined || !this.drawn || this.drawn.cursor.left < 0) return this.hideTip();
    const body = element("tbody");
    for (const [name, text] of this.rows(i)) body.append(element("tr", {}, element("th", { textContent: name, scope: "row" }), element("td", { textContent: text })));
    this.tip.replaceChildren(element("table", {}, element("caption", { textContent: this.stepText(i) }), body));
    const over = this.drawn.bbox, ratio = devicePixelRatio;
    this.placeTip(over.left / ratio + this.drawn.cursor.left, over.top / ratio + 8);
  }

  tipHeat(i) {
    if (i === null) return this.hideTip();
    const at = this.dayAt(i);
    this.tip.replaceChildren(element("table", {}, element("caption", { textContent: at }),
      element("tbody", {}, element("tr", {}, element("th", { textContent: say("value") }), element("td", { textContent: this.drawn.value(i) ?? say("nothing") })))));
    this.placeTip(...this.drawn.place(i));
  }

  dayAt(i) {
    const hour = String(i % 24).padStart(2, "0"), next = String((i % 24) + 1).padStart(2, "0");
    const noon = Date.parse(`${this.data.days[Math.floor(i / 24)]}T12:00:00Z`) / 1000;
    const day = new Date(noon * 1000), names = language === "zh" ? ["周日", "周一", "周二", "周三", "周四", "周五", "周六"] : ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const date = language === "zh" ? `${day.getUTCFullYear()}年${day.getUTCMonth() + 1}月${day.getUTCDate()}日 ${names[day.getUTCDay()]}` : `${names[day.getUTCDay()]} ${day.getUTCDate()} ${day.toLocaleString("en", { month: "short", timeZone: "UTC" })} ${day.getUTCFullYear()}`;
    return `${date} ${hour}:00–${next}:00`;
  }

  openDay(i) {
    if (i === null) return;
    const url = new URL(location.href);
    url.searchParams.set("period", "day");
    url.searchParams.set("date", this.data.days[Math.floor(i / 24)]);
    url.searchParams.delete("until");
    url.hash = "";
    location.assign(url);
  }

  placeTip(x, y) {
    this.tip.classList.add("on");
    const width = this.tip.offsetWidth, room = this.plot.clientWidth;
    const left = x + 14 + width > room ? Math.max(0, x - 14 - width) : x + 14;
    this.tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(Math.min(y, this.plot.clientHeight - this.tip.offsetHeight))}px)`;
  }

  hideTip() { this.tip.classList.remove("on"); }

  zoomTo(range) {
    if (this.kind === "heat") return;
    if (range && range[1] - range[0] < 60) return;
    if (!range && !this.zoom) return;
    this.zoom = range && range.map((at) => Math.round(at));
    this.load();
  }

  onKey(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!this.drawn || this.figure.dataset.state !== "full") return;
    if (this.kind === "heat") {
      if (steps) { event.preventDefault(); this.tipHeat(this.drawn.move(...steps)); }
      if (event.key === "Enter") this.openDay(this.drawn.chosen);
    } else if (steps && steps[0]) {
      event.preventDefault();
      const last = this.data.x.length - 1, now = this.drawn.cursor.left >= 0 ? this.drawn.cursor.idx ?? last : last;
      const i = Math.min(last, Math.max(0, now + steps[0] * (event.shiftKey ? 10 : 1)));
      const at = this.drawn.data[0][i];
      this.drawn.setCursor({ left: this.drawn.valToPos(at, "x"), top: 10 });
    } else if (event.key === "+" || event.key === "=") {
      const [a, b] = [this.data.from, this.data.to], middle = this.drawn.cursor.left >= 0 ? this.drawn.posToVal(this.drawn.cursor.left, "x") : (a + b) / 2;
      const half = (b - a) / 4;
      this.zoomTo([middle - half, middle + half]);
    } else if (event.key === "-" && this.zoom) {
      const [a, b] = this.zoom, half = (b - a) / 2;
      this.zoomTo([a - half, b + half]);
    } else if (event.key === "0") this.zoomTo(null);
    if (event.key === "Escape") this.hideTip();
  }

  toggleTable() {
    const open = this.table.hidden;
    this.table.hidden = !open;
    this.button.setAttribute("aria-expanded", String(open));
    this.button.textContent = say(open ? "as_chart" : "as_table");
    if (open) this.fillTable();
  }

  fillTable() {
    const data = this.data;
    this.table.tabIndex = 0;
    if (!data || data.empty) return this.table.replaceChildren(say("empty"));
    const head = element("tr", {}, element("th", { textContent: say("time"), scope: "col" }), element("th", { textContent: (data.labels && data.labels.value) || say("value"), className: "num", scope: "col" }));
    const body = element("tbody");
    if (this.kind !== "heat" && data.expected) head.append(element("th", { textContent: this.data.labels.expected || say("expected"), className: "num", scope: "col" }));
    if (this.kind !== "heat" && data.before) head.append(element("th", { textContent: data.labels.before, className: "num", scope: "col" }));
    const total = this.kind === "heat" ? data.value.length : data.x.length;
    for (let i = total - 1; i >= Math.max(0, total - ROWS_AT_MOST); i--) {
      if (data.value[i] === null && !(data.before && data.before[i] !== null) && !data.expected) continue;
      const row = element("tr", {}, element("th", { textContent: this.kind === "heat" ? this.dayAt(i) : this.stepText(i), scope: "row" }), element("td", { textContent: said(data.value[i], data.unit), className: "num" }));
      if (data.expected) row.append(element("td", { textContent: data.expected[i] === null ? "–" : said(data.expected[i], data.unit), className: "num" }));
      if (data.before) row.append(element("td", { textContent: said(data.before[i], data.unit), className: "num" }));
      body.append(row);
    }
    this.table.replaceChildren(element("table", {}, element("thead", {}, head), body));
  }

  resize() {
    if (!this.drawn) return;
    if (this.kind === "heat") this.drawn.draw();
    else this.drawn.setSize({ width: this.plot.clientWidth, height: this.plot.clientHeight });
  }
}

export function startCharts() {
  for (const figure of document.querySelectorAll("figure.chart")) charts.push(new Chart(figure));
  const resized = new ResizeObserver(() => requestAnimationFrame(() => charts.forEach((chart) => chart.resize())));
  for (const chart of charts) resized.observe(chart.plot);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((chart) => chart.drawn && chart.draw()));
}
/** New data into the same charts; a chart that is zoomed or being read stays as it is. */
export function refreshCharts() {
  for (const chart of charts) if (!chart.zoom && !chart.tip.classList.contains("on") && chart.figure.dataset.state !== "loading") chart.load();
}
export { THIN };
