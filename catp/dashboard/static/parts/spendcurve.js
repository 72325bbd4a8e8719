// Money over the time of a run: what was paid, the budget, and where it is expected to end.
import {html} from "../vendor/vendor.js";
import {useData} from "../store.js";
import {duration, usd} from "./basics.js";
import {columns} from "./columns.js";
import {cursor, readAxis} from "./gantt.js";
import {Twin} from "./table.js";

const COLUMNS = columns("ms:after:ms|amount:paid:$|so:so far:$");

export function SpendCurve({state, axis}) {
	const {
			id,
			budget,
			ledger,
			forecast: {p50, p90},
			ends_ms,
			latency_ms
		} = state.run.value,
		{data} = useData(`runs/${id}/spend`, {rows: ledger.rows}); // asked again when there are more
	if (!data) return null;
	let sum = 0;
	const rows = data.points.map(([ms, amount], id) => ({id, ms, amount, so: (sum += Number(amount)).toFixed(9)}));
	const {from, to, x} = readAxis(axis),
		now = state.now.value ?? latency_ms ?? rows.at(-1)?.ms ?? 0,
		end = Math.max(now, ends_ms),
		tip = x(Math.max(end, now + (to - from) * 0.03));
	const most = Math.max(sum, budget, p90) * 1.08 || 1,
		y = amount => 100 - (100 * amount) / most,
		ahead = ends_ms !== null && p50 !== null;
	const at = cursor.value === null ? null : from + cursor.value * (to - from);
	const legend = [
		[
			"s",
			"spent",
			at === null ? usd(data.total) : `${usd(rows.findLast(({ms}) => ms <= at)?.so ?? "0")} after ${duration(at)}`
		],
		budget !== null && ["b", "budget", usd(budget)],
		ahead && ["f", "forecast", `${usd(p50)} – ${usd(p90)} after ${duration(end)}`]
	].filter(Boolean);
	const point = event =>
		(cursor.value = event.type === "mouseleave" ? null : event.offsetX / event.currentTarget.clientWidth);
	return html`<${Twin} title="Money spent" columns=${COLUMNS} rows=${rows}
		note="A price counts when its call has ended.${data.unpriced ? ` ${data.unpriced} rows have no known price.` : ""}">
		<div class="spendcurve">
			<dl>${legend.map(
				([kind, name, text]) => html`<div class=${kind}><dt>${name}</dt><dd class="num">${text}</dd></div>`
			)}</dl>
			<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img"
				aria-label=${legend.map(([, ...text]) => text.join(" ")).join(", ")} onMouseMove=${point} onMouseLeave=${point}>
				${ahead && html`<path class="cone" d="M${x(now)} ${y(sum)}L${tip} ${y(p50)}V${y(p90)}Z" />`}
				${budget !== null && html`<path class="budget" d="M0 ${y(budget)}H100" />`}
				<path class="spent" d="M${x(0)} 100${rows.map(({ms, so}) => `H${x(ms)}V${y(so)}`).join("")}H${x(now)}" />
				${at !== null && html`<path class="at" d="M${cursor.value * 100} 0V100" />`}
			</svg>
		</div>
	<//>`;
}
