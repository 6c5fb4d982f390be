// Line and bar charts over time, drawn by uPlot: gaps break, estimates are hatched, the compared period is pale.
import { hatch } from "./heat.js";
import { ladderOf, rungFor } from "./numbers.js";
import { clock, daySaid, local, monthSaid } from "./times.js";

/* global uPlot */
export const percentile = (sorted, q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];

const tint = (colour, share) => {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
  return `rgba(${r},${g},${b},${share})`;
};

/** Ticks that stand on local hours, days or months. */
function axisText(grain, span) {
  if (grain === "month") return (at) => monthSaid(at);
  if (grain === "day" || span > 9 * 86400) return (at) => daySaid(at, { named: false });
  if (span <= 50 * 3600) return (at) => clock(at);
  return (at) => (clock(at) === "00:00" ? daySaid(at) : clock(at));
}

function timeSplits(data, width) {
  const span = data.to - data.from, most = Math.max(2, Math.floor(width / (span > 50 * 3600 ? 92 : 62)));
  if (data.grain === "month" || data.grain === "day") {
    const every = Math.max(1, Math.ceil(data.x.length / most));
    return data.x.map((x, i) => (data.end ? (x + data.end[i]) / 2 : x)).filter((_, i) => i % every === 0);
  }
  const hours = [1, 2, 3, 4, 6, 12, 24, 48, 96, 168, 336, 672, 1344].find((h) => span / 3600 / h <= most) || 2688;
  const out = [];
  const begin = Math.ceil(data.from / 900) * 900;
  let days = -1, day = null;
  for (let at = begin; at <= data.to; at += span > 40 * 86400 ? 3600 : 900) {
    const t = local(at);
    if (t.minute !== "00") continue;
    if (t.day !== day) { day = t.day; days += 1; }
    if (hours < 24 ? Number(t.hour) % hours === 0 : t.hour === "00" && days % (hours / 24) === 0) out.push(at);
  }
  return span > 50 * 3600 ? out.filter((at) => at < data.to) : out;
}

/** A chart in `plot`; `paint()` gives the colours of the moment. */
export function timeChart(plot, data, paint, onCursor, onZoom) {
  const { colour, card, line, quiet, expected, family } = paint();
  const bars = data.kind === "bars", span = data.to - data.from;
  const x = bars ? data.x.map((at, i) => (at + data.end[i]) / 2) : data.x;
  const top = Math.max(...[data.value, data.before, data.high, data.expected_high].filter(Boolean).flat().map((v) => Math.abs(v ?? 0)), 0);
  const [unit, factor] = data.counter ? ladderOf(data.unit)[0] : rungFor(top, data.unit);
  const scaled = (column) => column.map((v) => (v === null ? null : v / factor));
  const value = scaled(data.value);
  const columns = [x, value];
  const series = [{}, { stroke: colour, width: 1.5, points: { show: few(data, value), size: 5, fill: colour } }];
  const bands = [];
  const add = (column, options) => { columns.push(column); series.push(options); return columns.length - 1; };
  if (data.before) {
    add(scaled(data.before), bars
      ? { stroke: null, fill: tint(colour, 0.4), paths: uPlot.paths.bars({ size: [0.38], align: -1, gap: 0 }), points: { show: false } }
      : { stroke: tint(colour, 0.4), width: 1.5, points: { show: false } });
  }
  if (data.low) {
    const high = add(scaled(data.high), { stroke: null, points: { show: false } });
    const low = add(scaled(data.low), { stroke: null, points: { show: false } });
    bands.push({ series: [high, low], fill: tint(colour, 0.16) });
  }
  if (bars) Object.assign(series[1], { fill: colour, width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: data.before ? [0.38] : [0.72], align: data.before ? 1 : 0, gap: 0 }) });
  else if (data.kind === "line") series[1].fill = tint(colour, 0.08);
  if (data.expected) {
    const high = add(scaled(data.expected_high), { stroke: null, points: { show: false } });
    const low = add(scaled(data.expected_low), { stroke: null, points: { show: false } });
    bands.push({ series: [high, low], fill: tint(expected, 0.12) });
    add(scaled(data.expected), { stroke: expected, width: 1.5, dash: [5, 4], points: { show: false } });
  }

  const options = {
    width: plot.clientWidth, height: plot.clientHeight, series, bands, legend: { show: false },
    tzDate: (at) => new Date(at * 1000),
    padding: [10, 18, 0, 0],
    cursor: { sync: { key: "page" }, drag: { x: true, y: false, setScale: false }, points: { size: 7, fill: colour, stroke: card }, y: false },
    scales: {
      x: { time: true, range: () => [data.from, data.to] },
      y: { range: (_, low, high) => yRange(data, low, high) },
    },
    axes: [
      { stroke: quiet, font: `12px ${family}`, grid: { show: false }, ticks: { stroke: line, size: 4, width: 1 }, size: 28, gap: 4,
        splits: (u) => timeSplits(data, u.bbox.width / devicePixelRatio), values: (_, splits) => splits.map(axisText(data.grain, span)) },
      { stroke: quiet, font: `12px ${family}`, grid: { stroke: line, width: 1 }, ticks: { show: false }, gap: 6,
        size: (u, values) => Math.max(40, 14 + 7.4 * Math.max(0, ...(values || []).map((v) => String(v).length))),
        values: (_, splits) => splits.map((v, i) => axisNumber(v, splits) + (i === splits.length - 1 ? " " + unit : "")) },
    ],
    hooks: {
      draw: [(u) => { drawEstimates(u, data, factor, colour, card, bars); drawMarks(u, data, quiet); }],
      setCursor: [(u) => onCursor(u, u.cursor.idx)],
      setSelect: [(u) => { if (u.select.width > 8) onZoom(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")); u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false); }],
    },
  };
  return new uPlot(options, columns, plot);
}

/** Points are drawn where a line would hide a lone reading. */
const few = (data, value) => data.kind === "readings" && value.length < 40;

function yRange(data, low, high) {
  if (low === null || high === null) return [0, 1];
  if (data.kind === "readings") {
    const pad = (high - low || Math.abs(high) || 1) * 0.06;
    return [low >= 0 && low < (high - low) * 0.6 ? 0 : low - pad, high + pad];
  }
  return [Math.min(0, low * 1.06), Math.max(high * 1.06, 1e-3)];
}

function axisNumber(v, splits) {
  const step = Math.abs((splits[1] ?? 1) - (splits[0] ?? 0)) || 1;
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return v.toFixed(Math.min(digits, 4)).replace("-", "−").replace(/\B(?<!\.\d*)(?=(\d{3})+(?!\d))/g, ",");
}

/** Estimated energy is hatched: in bars the part that is, under lines the stretch that is. */
function drawEstimates(u, data, factor, colour, card, bars) {
  if (!data.estimated) return;
  const c = u.ctx, pattern = hatch(c, colour, devicePixelRatio), zero = u.valToPos(0, "y", true);
  c.save();
  c.beginPath(); c.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height); c.clip();
  data.estimated.forEach((part, i) => {
    if (!part || data.value[i] === null) return;
    const left = u.valToPos(data.x[i], "x", true), right = u.valToPos(data.end[i], "x", true);
    const top = u.valToPos(data.value[i] / factor, "y", true);
    const foot = bars ? u.valToPos((data.value[i] - part) / factor, "y", true) : zero;
    const size = right - left, share = data.before ? 0.38 : 0.72;
    const [x, w] = bars ? [data.before ? left + size / 2 : left + (size * (1 - share)) / 2, size * share] : [left, size];
    c.fillStyle = card; c.fillRect(x, top, w, foot - top);
    c.fillStyle = pattern; c.fillRect(x, top, w, foot - top);
    c.fillStyle = colour; c.fillRect(x, top - devicePixelRatio, w, 1.5 * devicePixelRatio);
  });
  c.restore();
}

function drawMarks(u, data, quiet) {
  for (const mark of data.marks || []) {
    const x = Math.round(u.valToPos(mark.at, "x", true)), c = u.ctx;
    c.save();
    c.strokeStyle = c.fillStyle = quiet; c.lineWidth = devicePixelRatio;
    c.beginPath(); c.moveTo(x, u.bbox.top); c.lineTo(x, u.bbox.top + u.bbox.height); c.stroke();
    c.beginPath(); c.moveTo(x - 5 * devicePixelRatio, u.bbox.top); c.lineTo(x + 5 * devicePixelRatio, u.bbox.top); c.lineTo(x, u.bbox.top + 8 * devicePixelRatio); c.fill();
    c.restore();
  }
}
