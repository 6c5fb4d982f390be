// Numbers typeset for a reader: the twin of numbers.py; one table tests both.
export const THIN = "\u202f", MINUS = "\u2212", UNKNOWN = "–";
const LADDERS = {
  W: [["W", 1], ["kW", 1e3], ["MW", 1e6], ["GW", 1e9]],
  var: [["var", 1], ["kvar", 1e3], ["Mvar", 1e6]],
  VA: [["VA", 1], ["kVA", 1e3], ["MVA", 1e6]],
  kWh: [["kWh", 1], ["MWh", 1e3], ["GWh", 1e6]],
  kvarh: [["kvarh", 1], ["Mvarh", 1e3]],
  byte: [["B", 1], ["kB", 1e3], ["MB", 1e6], ["GB", 1e9], ["TB", 1e12]],
};
const UNIT_TEXT = {
  m3: "m³", "m3/h": "m³/h", m2: "m²", degC: "°C", "W/m2": "W/m²", "kWh/m2": "kWh/m²",
  l: "L", "l/h": "L/h", deg: "°", 1: "",
};
const decimals = (x, unit) => (unit === "%" ? 0 : x >= 100 ? 0 : x >= 10 ? 1 : x >= 1 ? 2 : 3);
const grouped = (digits) => digits.replace(/^\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ","));
export const ladderOf = (unit) => LADDERS[unit] || [[UNIT_TEXT[unit] ?? unit, 1]];

/** The rung of a unit's ladder that suits a magnitude: [unit text, factor]. */
export function rungFor(magnitude, unit) {
  let found = ladderOf(unit)[0];
  for (const rung of ladderOf(unit)) if (magnitude >= rung[1]) found = rung;
  return found;
}

/** A value [unit] for the eye: {text, unit}. */
export function typeset(value, unit) {
  if (value === null || value === undefined || !(Math.abs(value) < 1e18)) return { text: UNKNOWN, unit: "" };
  const ladder = ladderOf(unit);
  if (value === 0) return { text: "0", unit: ladder[0][0] };
  const magnitude = Math.abs(value), sign = value < 0 ? MINUS : "";
  if (magnitude < 0.0005 && unit !== "%")
    return { text: value > 0 ? "<" + THIN + "0.001" : ">" + THIN + MINUS + "0.001", unit: ladder[0][0] };
  let rung = 0;
  ladder.forEach(([, factor], i) => { if (magnitude >= factor) rung = i; });
  for (;;) {
    const scaled = magnitude / ladder[rung][1];
    const rounded = Number(scaled.toFixed(decimals(scaled, unit)));
    if (rung + 1 < ladder.length && rounded * ladder[rung][1] >= ladder[rung + 1][1]) { rung += 1; continue; }
    return { text: sign + grouped(scaled.toFixed(decimals(rounded, unit))), unit: ladder[rung][0] };
  }
}

export const said = (value, unit) => {
  const it = typeset(value, unit);
  return it.unit ? it.text + THIN + it.unit : it.text;
};

export function percent(ratio, language) {
  if (ratio === null || ratio === undefined || !Number.isFinite(ratio)) return UNKNOWN;
  const hundredths = Math.abs(ratio) * 100;
  const text = hundredths > 0 && hundredths < 0.5 ? "<1" : grouped(hundredths.toFixed(0));
  return text + (language === "zh" ? "%" : THIN + "%");
}
