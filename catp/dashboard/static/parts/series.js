// Lines over time or steps, with a table twin. Charts with the same `cursor` show the same moment.
import {html, signal} from "../vendor/vendor.js";
import {Plot} from "./plot.js";
import {Twin} from "./table.js";

const DASHES = ["", "6 3", "2 2", "8 3 2 3"]; // lines differ in more than colour
const NAMES = 6;
const pointed = {}; // cursor -> signal: the place pointed at, null for none

/**
 * title; t: seconds (Unix) or plain x values; lines: [{label, values}]; unit(value) -> text; time: x are times.
 * label(x) -> text of a place in the table. cursor: a string that links charts.
 */
export function Series({
	title,
	t,
	lines,
	unit = String,
	time = true,
	height = 180,
	cursor = title,
	note,
	label = x => (time ? new Date(x * 1000).toLocaleString("en-GB") : x)
}) {
	const columns = [
		{key: "id", title: time ? "time" : "x", cell: row => label(row.id)},
		...lines.map((one, i) => ({key: `v${i}`, title: one.label, num: true, cell: row => said(row[`v${i}`], unit)}))
	];
	const rows = t.map((x, k) => ({id: x, ...Object.fromEntries(lines.map((one, i) => [`v${i}`, one.values[k]]))}));
	return html`<${Twin} title=${title} columns=${columns} rows=${rows} note=${note}>
		<${Lines} ...${{title, t, lines, unit, time, height, cursor, label}} />
	<//>`;
}

const said = (value, unit) => (value == null ? "–" : unit(value));

function Lines({title, t, lines, unit, time, height, cursor, label}) {
	const at = (pointed[cursor] ??= signal(null));
	const known = lines.flatMap(one => one.values.filter(Number.isFinite));
	const least = Math.min(0, ...range(known)),
		most = Math.max(...range(known));
	const span = t.at(-1) - t[0] || 1;
	const share = x => (x - t[0]) / span;
	const names = t.length
		? Array.from({length: NAMES}, (_, i) => [i / (NAMES - 1), short(t[0] + (span * i) / (NAMES - 1), time, span)])
		: [];
	const nearest = at.value === null || !t.length ? t.length - 1 : closest(t, at.value);
	const point = event => {
		const box = event.currentTarget.getBoundingClientRect();
		at.value = t[0] + (span * (event.clientX - box.left)) / box.width;
	};
	return html`<div class="series">
		<${Plot} says="${title}: lines over ${time ? "time" : "x"}; the table has the figures" least=${least}
			most=${most || 1} unit=${unit} names=${names} height=${height}>
			${({x, y, width}) => html`
				${lines.map(
					(one, i) => html`<path class="line" d=${path(t, one, v => x(share(v)), y)}
						style="stroke:var(--c${(i % 8) + 1})" stroke-dasharray=${DASHES[i % DASHES.length]} />`
				)}
				${at.value !== null && nearest >= 0 && html`<path class="rule" d="M${x(share(t[nearest]))} 8V${height - 20}" />`}
				<rect x=${x(0)} y="0" width=${width} height=${height - 20} fill="transparent" onPointerMove=${point}
					onPointerLeave=${() => (at.value = null)} />
			`}
		<//>
		<p class="legend">
			${lines.map(
				(one, i) => html`<span>
					<svg width="22" height="8" aria-hidden="true">
						<path class="line" d="M0 4h22" style="stroke:var(--c${(i % 8) + 1})"
							stroke-dasharray=${DASHES[i % DASHES.length]} />
					</svg> ${one.label} <b class="num">${said(one.values[nearest], unit)}</b>
				</span>`
			)}
			${nearest >= 0 && html`<span class="muted">${label(t[nearest])}</span>`}
		</p>
	</div>`;
}

// Math.min(...) of many values overflows the stack.
const range = values =>
	values.length ? [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))] : [0];

function closest(t, x) {
	let low = 0,
		high = t.length - 1;
	while (low < high) {
		const middle = (low + high) >> 1;
		if (t[middle] < x) low = middle + 1;
		else high = middle;
	}
	return low > 0 && x - t[low - 1] < t[low] - x ? low - 1 : low;
}

/** The line as SVG; of many points in one column of pixels only four at most are drawn; gaps stay gaps. */
function path(t, {values}, x, y) {
	let text = "",
		pen = false,
		column = null,
		kept = [];
	const flush = () => {
		for (const [px, py] of kept.length > 2 ? [...new Set([kept[0], least(kept), most(kept), kept.at(-1)])] : kept) {
			text += pen ? `L${px} ${py}` : `M${px} ${py}h.01`;
			pen = true;
		}
		kept = [];
	};
	values.forEach((value, i) => {
		if (!Number.isFinite(value)) return (flush(), (pen = false));
		const px = Math.round(x(t[i]));
		if (px !== column) flush();
		column = px;
		kept.push([px, y(value).toFixed(1)]);
	});
	flush();
	return text;
}
const least = points => points.reduce((a, b) => (Number(b[1]) < Number(a[1]) ? b : a));
const most = points => points.reduce((a, b) => (Number(b[1]) > Number(a[1]) ? b : a));

function short(x, time, span) {
	if (!time) return Math.abs(x) >= 1000 ? `${+(x / 1000).toPrecision(3)}k` : String(+x.toPrecision(3));
	const date = new Date(x * 1000);
	if (span > 3 * 86400) return date.toLocaleDateString("en-GB", {day: "numeric", month: "short"});
	return date.toLocaleTimeString("en-GB", span > 1200 ? {hour: "2-digit", minute: "2-digit"} : {});
}
