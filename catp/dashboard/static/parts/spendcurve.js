// Money over the time of a run: what was paid, the budget, and where it is expected to end.
import { html, useEffect, useState } from "../vendor/vendor.js";
import { get } from "../api.js";
import { duration, usd } from "./basics.js";
import { cursor, readAxis } from "./gantt.js";
import { Twin } from "./table.js";

export function SpendCurve({ state, axis }) {
  const run = state.run.value;
  const [found, setFound] = useState(null);
  useEffect(() => void get(`runs/${run.id}/spend`).then(setFound, () => {}), [run.id, run.ledger.rows]);
  if (!found) return null;
  let sum = 0;
  const steps = found.points.map(([ms, amount]) => [ms, (sum += Number(amount)), amount]);
  const { from, to, x } = readAxis(axis.value);
  const { p50, p90 } = run.forecast;
  const now = run.now_ms ?? run.latency_ms ?? steps.at(-1)?.[0] ?? 0, end = run.ends_ms ?? now;
  const most = Math.max(sum, run.budget ?? 0, p90 ?? 0) * 1.08 || 1;
  const y = (amount) => 100 - (100 * amount) / most;
  const line = `M${x(0)} 100` + steps.map(([ms, so]) => `H${x(ms)}V${y(so)}`).join("") + `H${x(now)}`;
  const at = cursor.value === null ? null : from + cursor.value * (to - from);
  const then = at === null ? null : (steps.filter(([ms]) => ms <= at).at(-1)?.[1] ?? 0);
  const point = (event) => (cursor.value = event.type === "mouseleave" ? null : event.offsetX / event.currentTarget.clientWidth);
  const rows = steps.map(([ms, so, amount], id) => ({ id, ms, so, amount }));
  const columns = [
    { key: "ms", title: "after", num: true, cell: (row) => duration(row.ms) }, { key: "amount", title: "paid", num: true, cell: (row) => usd(row.amount) },
    { key: "so", title: "so far", num: true, cell: (row) => usd(row.so.toFixed(9)) },
  ];
  const says = `${usd(found.total)} spent${run.budget ? ` of ${usd(run.budget)}` : ""}${run.ends_ms && p50 ? `, forecast ${usd(p50)} to ${usd(p90)} after ${duration(end)}` : ""}`;
  return html`<${Twin} title="Money spent" columns=${columns} rows=${rows} note="Prices count when a call has ended; the table adds up to the ledger.${found.unpriced ? ` ${found.unpriced} rows have no known price and are not in it.` : ""}">
    <div class="spendcurve"><dl><div class="s"><dt>spent</dt><dd class="num">${at === null ? usd(found.total) : `${usd(then.toFixed(9))} at ${duration(at)}`}</dd></div>
      ${run.budget && html`<div class="b"><dt>budget</dt><dd class="num">${usd(run.budget)}</dd></div>`}${run.ends_ms && p50 && html`<div class="f"><dt>forecast</dt><dd class="num">${usd(p50)} – ${usd(p90)}</dd></div>`}</dl>
      <svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label=${says} onMouseMove=${point} onMouseLeave=${point}>
        ${run.ends_ms && p50 && html`<path class="cone" d="M${x(now)} ${y(sum)}L${x(end)} ${y(p50)}V${y(p90)}Z" />`}
        ${run.budget && html`<path class="budget" d="M0 ${y(run.budget)}H100" />`}<path class="spent" d=${line} />
        ${cursor.value !== null && html`<path class="at" d="M${cursor.value * 100} 0V100" />`}</svg></div><//>`;
}
