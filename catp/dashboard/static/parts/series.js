// Lines over time on a canvas (uPlot), with a table twin.
import { html, uPlot, useEffect, useRef } from "../vendor/vendor.js";
import { dark } from "../store.js";
import { Twin } from "./table.js";

const COLOURS = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7", "--c8"];
const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]]; // lines differ in more than colour

/**
 * title; t: seconds (Unix) or plain x values; lines: [{label, values, step, fill}]; unit(value) -> text; time: x are times.
 * cursor: a string that links the cursors of charts with the same name.
 */
export function Series({ title, t, lines, unit = String, time = true, height = 180, cursor, note }) {
  const label = (x) => (time ? new Date(x * 1000).toLocaleString("en-GB") : x);
  const columns = [{ key: "id", title: time ? "time" : "x", cell: (row) => label(row.id) },
    ...lines.map((one, i) => ({ key: `v${i}`, title: one.label, num: true, cell: (row) => (row[`v${i}`] === null ? "–" : unit(row[`v${i}`])) }))];
  const rows = t.map((x, k) => ({ id: x, ...Object.fromEntries(lines.map((one, i) => [`v${i}`, one.values[k]])) }));
  return html`<${Twin} title=${title} columns=${columns} rows=${rows} note=${note}><${Lines} ...${{ title, t, lines, unit, time, height, cursor }} /><//>`;
}

function Lines({ title, t, lines, unit, time, height, cursor }) {
  const box = useRef(null);
  const shown = useRef(null);
  const isDark = dark.value;
  const shape = `${title}|${lines.map((one) => one.label).join("|")}|${isDark}|${time}|${height}`;
  const data = [t, ...lines.map((one) => one.values)];
  useEffect(() => {
    if (!box.current) return undefined;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: colour(isDark ? "--muted-dark" : "--muted-light"), grid: { stroke: isDark ? "#8883" : "#8882", width: 1 }, font: "12px system-ui" };
    const width = () => Math.max(200, box.current?.clientWidth ?? 600);
    const chart = new uPlot(
      {
        width: width(), height, scales: { x: { time } }, legend: { live: true }, cursor: cursor ? { sync: { key: cursor } } : {},
        axes: [axis, { ...axis, size: 70, values: (_, ticks) => ticks.map((tick) => unit(tick)) }],
        series: [{}, ...lines.map((one, i) => ({
          label: one.label, width: 2, dash: DASHES[Math.floor(i / COLOURS.length) % DASHES.length],
          stroke: colour(COLOURS[i % COLOURS.length]), value: (_, value) => (value === null ? "–" : unit(value)),
          paths: one.step ? uPlot.paths.stepped({ align: 1 }) : undefined, points: { show: t.length < 3 },
        }))],
      },
      data, box.current,
    );
    shown.current = chart;
    const watch = new ResizeObserver(() => chart.setSize({ width: width(), height }));
    watch.observe(box.current);
    return () => (watch.disconnect(), chart.destroy());
  }, [shape]);
  useEffect(() => shown.current?.setData(data), [t, lines]);
  return html`<div class="series" ref=${box} role="img" aria-label="${title}: lines over ${time ? "time" : "x"}; the table has the figures"></div>`;
}
