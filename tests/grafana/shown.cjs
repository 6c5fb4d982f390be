// What panels show, by Grafana's own code (npm's @grafana/data): answers of InfluxDB become frames as Grafana's server
// makes them, go through the panel's transformations, and are written out in their unit.
// In: {panels: [{..., answers: [[{name, tags, columns, values}]]}]}; out: [{title, frames, figures}].
// Two transformations are not in that package: configFromData, partitionByValues. What they do is written out below.
const { JSDOM } = require("jsdom");
const page = new JSDOM("<html></html>", { url: "http://localhost/" });
for (const name of ["document", "localStorage", "DOMParser", "HTMLElement", "Node", "Element"]) {
  globalThis[name] = page.window[name];
}
globalThis.window = page.window;
Object.defineProperty(globalThis, "navigator", { value: page.window.navigator, configurable: true });
const data = require("@grafana/data");
const { lastValueFrom } = require("rxjs");
const fs = require("fs");

const known = new Map(Object.values(data.standardTransformers).map((each) => [each.id, each]));
data.standardTransformersRegistry.setInit(() =>
  [...known.values()].map((each) => ({ id: each.id, name: each.name, transformation: each, editor: () => null }))
);
const settings = ["unit", "min", "max", "decimals", "displayName", "noValue", "links", "mappings", "color", "thresholds"];
const own = ["custom.hidden", "custom.width", "custom.align", "custom.cellOptions"];
data.standardFieldConfigEditorRegistry.setInit(() =>
  [...settings, ...own].map((id) => ({
    id, name: id, path: id.replace("custom.", ""), isCustom: id.startsWith("custom."), settings: {},
    editor: () => null, override: () => null, process: (value) => value, shouldApply: () => true,
  }))
);
const theme = data.createTheme({ colors: { mode: "dark" } });

function frames(target, series) {
  const times = (each) => each.values.map((row) => row[0] / 1e6);
  if (target.resultFormat === "table") {
    if (!series.length) return [];
    const fields = [{ name: "Time", type: "time", config: {}, values: series.flatMap(times) }];
    for (const tag of Object.keys(series[0].tags)) {
      const values = series.flatMap((each) => each.values.map(() => each.tags[tag]));
      fields.push({ name: tag, type: "string", config: { displayNameFromDS: tag }, values });
    }
    series[0].columns.slice(1).forEach((name, i) => {
      const values = series.flatMap((each) => each.values.map((row) => row[i + 1]));
      const type = typeof values.find((value) => value !== null) === "string" ? "string" : "number";
      fields.push({ name, type, config: { displayNameFromDS: name }, values });
    });
    return [data.toDataFrame({ refId: target.refId, name: series[0].name, fields })];
  }
  return series.flatMap((each) =>
    each.columns.slice(1).map((column, i) => {
      const named = (whole, key) => (key === "col" ? column : (each.tags[key.slice(4)] ?? whole));
      const name = target.alias ? target.alias.replace(/\$(\w+)/g, named) : `${each.name}.${column}`;
      const values = each.values.map((row) => row[i + 1]);
      const config = { displayNameFromDS: name };
      return data.toDataFrame({
        refId: target.refId, name,
        fields: [
          { name: "Time", type: "time", config: {}, values: times(each) },
          { name: "Value", type: "number", labels: each.tags, config, values },
        ],
      });
    })
  );
}

function partition(found, key) {
  return found.flatMap((frame) => {
    const by = frame.fields.find((field) => field.name === key);
    if (!by) return [frame];
    return [...new Set(by.values)].map((name) =>
      data.toDataFrame({
        refId: frame.refId,
        fields: frame.fields.filter((field) => field !== by).map((field) => ({
          name: field.name, type: field.type, config: { ...field.config },
          labels: field.type === "time" ? undefined : { [key]: name },
          values: field.values.filter((_, i) => by.values[i] === name),
        })),
      })
    );
  });
}

async function shown(panel) {
  let found = panel.targets.flatMap((target, i) => frames(target, panel.answers[i]));
  let threshold = null;
  for (const step of panel.transformations ?? []) {
    if (step.id === "configFromData") {
      const config = found.find((frame) => frame.refId === step.options.configRefId);
      const name = step.options.mappings[0].fieldName;
      threshold = config?.fields.find((field) => data.getFieldDisplayName(field, config) === name)?.values[0] ?? null;
      found = found.filter((frame) => frame !== config);
    } else if (step.id === "partitionByValues") {
      found = partition(found, step.options.fields[0]);
    } else {
      found = await lastValueFrom(data.transformDataFrame([step], found));
    }
  }
  const label = (text, context) =>
    text.replace(/\$\{__field\.labels\.(\w+)\}/g, (whole, key) => context?.__dataContext?.value?.field?.labels?.[key] ?? whole);
  found = data.applyFieldOverrides({
    data: found, fieldConfig: panel.fieldConfig, replaceVariables: label, theme, timeZone: "Asia/Shanghai",
    fieldConfigRegistry: data.standardFieldConfigEditorRegistry,
  });
  const written = (field, value) => (field.display ? data.formattedValueToString(field.display(value)) : String(value));
  const out = { title: panel.title, threshold, figures: [], frames: [] };
  for (const frame of found) {
    out.frames.push(
      frame.fields.map((field) => ({
        name: data.getFieldDisplayName(field, frame, found), type: field.type, labels: field.labels ?? {},
        hidden: Boolean(field.config.custom?.hidden), values: [...field.values],
        texts: [...field.values].map((value) => written(field, value)),
      }))
    );
  }
  if (panel.type === "stat") {
    const figures = data.getFieldDisplayValues({
      fieldConfig: panel.fieldConfig, reduceOptions: panel.options.reduceOptions, replaceVariables: (text) => text,
      theme, data: found, timeZone: "Asia/Shanghai",
    });
    out.figures = figures.map((each) => ({ text: data.formattedValueToString(each.display), name: each.display.title }));
  }
  return out;
}

const board = JSON.parse(fs.readFileSync(0, "utf-8"));
Promise.all(board.panels.map(shown)).then(
  (out) => fs.writeFileSync(1, JSON.stringify(out)),
  (error) => {
    console.error(error);
    process.exitCode = 1;
  }
);
