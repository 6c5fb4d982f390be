// A year, hour by day: one hue, steps by quantiles, missing hours hatched, free days marked under the axis.
import { percentile } from "./draw.js";
import { said } from "./numbers.js";
import { zh } from "./times.js";

const STEPS = 7, LEFT = 44, TOP = 4, BOTTOM = 34;

/** Draw into `plot`; returns {at(x, y) -> cell or null, cell(i), move(di), resize()}. */
export function heatMap(plot, data, paint) {
  const canvas = document.createElement("canvas");
  plot.append(canvas);
  const known = data.value.filter((v) => v !== null).sort((a, b) => a - b);
  const cuts = Array.from({ length: STEPS - 1 }, (_, i) => percentile(known, (i + 1) / STEPS));
  const days = data.days.length;
  const self = { chosen: null };
  let width = 0, height = 0, cw = 0, ch = 0;
  const step = (value) => { let i = 0; while (i < cuts.length && value > cuts[i]) i++; return i; };

  self.draw = () => {
    const { colour, card, line, quiet, ink, family } = paint();
    const ratio = devicePixelRatio || 1;
    width = plot.clientWidth; height = plot.clientHeight;
    canvas.width = width * ratio; canvas.height = height * ratio;
    canvas.style.width = width + "px"; canvas.style.height = height + "px";
    const c = canvas.getContext("2d");
    c.scale(ratio, ratio);
    cw = (width - LEFT) / days; ch = (height - TOP - BOTTOM) / 24;
    const hatched = hatch(c, line, ratio);
    for (let d = 0; d < days; d++) for (let h = 0; h < 24; h++) {
      const value = data.value[d * 24 + h];
      const x = LEFT + d * cw, y = TOP + h * ch, w = Math.max(cw - (cw > 4 ? 1 : 0), 0.5), t = ch - (ch > 6 ? 1 : 0);
      c.globalAlpha = value === null ? 1 : 0.06 + 0.94 * (step(value) / (STEPS - 1));
      c.fillStyle = value === null ? hatched : colour;
      c.fillRect(x, y, w + (cw > 4 ? 0 : 0.3), t);
    }
    c.globalAlpha = 1;
    c.fillStyle = quiet; c.font = `12px ${family}`; c.textBaseline = "middle"; c.textAlign = "right";
    for (const h of [0, 6, 12, 18]) c.fillText(`${String(h).padStart(2, "0")}:00`, LEFT - 8, TOP + (h + 0.5) * ch);
    const axis = height - BOTTOM;
    for (let d = 0; d < days; d++) if (data.free[d]) c.fillRect(LEFT + d * cw, axis + 3, Math.max(cw - 0.5, 0.5), 3);
    c.textAlign = "left";
    let free = -1;
    data.days.forEach((day, d) => {
      const label = days > 45 ? (day.endsWith("-01") ? monthLabel(day) : "") : Number(day.slice(8)) % 5 === 1 ? dayLabel(day) : "";
      const x = LEFT + d * cw;
      if (!label || x < free || x + c.measureText(label).width > width) return;
      c.fillText(label, x, axis + 20);
      free = x + c.measureText(label).width + 10;
    });
    if (self.chosen !== null) {
      const d = Math.floor(self.chosen / 24), h = self.chosen % 24;
      c.strokeStyle = ink; c.lineWidth = 2;
      c.strokeRect(LEFT + d * cw - 1, TOP + h * ch - 1, Math.max(cw, 4) + 1, ch + 1);
    }
    void card;
  };
  self.at = (x, y) => {
    const d = Math.floor((x - LEFT) / cw), h = Math.floor((y - TOP) / ch);
    return d >= 0 && d < days && h >= 0 && h < 24 ? d * 24 + h : null;
  };
  self.place = (i) => [LEFT + (Math.floor(i / 24) + 0.5) * cw, TOP + ((i % 24) + 0.5) * ch];
  self.choose = (i) => { self.chosen = i; self.draw(); };
  self.move = (dx, dy) => {
    const i = self.chosen ?? (days - 1) * 24 + 12;
    const d = Math.min(days - 1, Math.max(0, Math.floor(i / 24) + dx)), h = Math.min(23, Math.max(0, (i % 24) + dy));
    self.choose(d * 24 + h);
    return self.chosen;
  };
  self.value = (i) => (data.value[i] === null ? null : said(data.value[i], data.unit));
  self.steps = () => [known[0], ...cuts, known[known.length - 1]];
  self.draw();
  return self;
}

export function hatch(c, colour, ratio = 1) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6 * ratio;
  const t = tile.getContext("2d");
  t.strokeStyle = colour; t.lineWidth = 1.25 * ratio;
  t.beginPath();
  for (const o of [-6, 0, 6]) { t.moveTo((o - 1) * ratio, 7 * ratio); t.lineTo((o + 7) * ratio, -1 * ratio); }
  t.stroke();
  return c.createPattern(tile, "repeat");
}

const NAMES = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const monthLabel = (day) => {
  const month = Number(day.slice(5, 7));
  if (zh) return month === 1 ? `${day.slice(0, 4)}年1月` : `${month}月`;
  return month === 1 ? `Jan ${day.slice(0, 4)}` : NAMES[month - 1];
};
const dayLabel = (day) => (zh ? `${Number(day.slice(5, 7))}月${Number(day.slice(8))}日` : `${Number(day.slice(8))} ${NAMES[Number(day.slice(5, 7)) - 1]}`);
