// Tools: what they cost, how long they take, how well that was foreseen, what they are good for.
import {html} from "../vendor/vendor.js";
import {useData} from "../store.js";
import {Card, duration, How, Link, Loaded, Loading, Money, number, percent, Status} from "../parts/basics.js";
import {columns, dollars, signed, toolLink} from "../parts/columns.js";
import {dayOf, Nothing, Period, spanOf} from "../parts/period.js";
import {Plot} from "../parts/plot.js";
import {Series} from "../parts/series.js";
import {Table, Twin} from "../parts/table.js";

const price = (amount, row) => (amount === null && row.priced ? "–" : html`<${Money} amount=${amount} />`);
const short = text => html`<span class="short" title=${text}>${text ?? "–"}</span>`;
const cells = {
	"price.p50": price,
	"price.est_p50": price,
	rule: short,
	price: short,
	to: (to, row) => `${number(row.from)} – ${number(to)}`,
	outcome: (how, row) => html`<${Status} status=${row.cached
			? "cached"
			: how === "error"
				? "failed"
				: (how ?? "running")} />`,
	"quality.gain": (gain, {quality: it}) =>
		it
			? html`<span title="${it.source}; ${it.n_with} runs with, ${it.n_without} without">
					${gain < 0 ? "−" : "+"}${number(Math.abs(gain * 100), 1)}
				</span>`
			: "–",
	name: (name, row) => html`
		${toolLink(name, row.span)}${row.priced === false && html` <span class="chip warn">▲ unpriced</span>`}
		${row.fail > 0.2 && html` <span class="chip bad">✕ failing</span>`}
	`
};
const BOARD = columns(
	"name:tool|n:calls:n|cost:spent:$|price.p50:price p50:$|price.est_p50:estimate p50:$|price.bias:bias:±|p50_ms:time p50:ms|" +
		"p99_ms:p99:ms|fail:failed:%|timeout:timed out:%|cache_hit:cached:%|use:in runs:%|frontier:on frontier:%|quality.gain:quality:n|" +
		"rule:declared price",
	cells
);
const TABLES = [
	[
		"Cost by input size",
		"sizes",
		"to:input units:n|n:calls:n|price_p50:price p50:$|price_p90:p90:$|est_p50:estimate p50:$?|p50_ms:time p50:ms|p95_ms:p95:ms"
	],
	[
		"Alternatives",
		"alternatives",
		"name:tool|price:declared price|measured.price.p50:price p50:$?|measured.p50_ms:time p50:ms|" +
			"accuracy:accuracy:%|capability:for|unavailable:cannot run"
	],
	[
		"Versions",
		"versions",
		"version:version|n:calls:n|first:first call:at|last:last call:at|price_p50:price p50:$?|p50_ms:time p50:ms"
	],
	["Errors", "errors", "type:error|n:times:n|last:latest:at|run:in:run|reason:it said"],
	[
		"Latest calls",
		"latest",
		"start:started:at|run:run, step:run|outcome:outcome|cost:price:$|est:estimate:$?|" +
			"ms:took:ms|est_ms:expected:ms|size:input units:n"
	]
].map(([title, key, text]) => [title, key, columns(text, cells)]);

const Rows = ({title, shown = BOARD, rows, how}) => html`<${Card}>
	${how
		? html`<div class="row muted">${Object.entries(how).map(
				([key, text]) => html`<span>${key} <${How} of=${key}>${text}<//></span>`
			)}</div>`
		: html`<h2>${title}</h2>`}
	<${Table} caption=${title} columns=${shown} rows=${rows} />
<//>`;

export default function Tools({parts: [, name], query}) {
	const span = spanOf(query);
	const found = useData(name ? `tools/${encodeURIComponent(name)}` : "tools", span);
	return html`
		<div class="row apart">
			<h1>${name ? html`<${Link} to="tools" query=${span}>Tools<//> / <bdi>${name}</bdi>` : "Tools"}</h1>
			<${Period} query=${query} />
		</div>
		<${Loaded} of=${found} what="tools">${data =>
			data.name !== name
				? html`<${Loading} />`
				: name
					? html`<${Tool} ...${data} />`
					: html`<${Board} ...${data} span=${span} />`}<//>
	`;
}

function Board({items, how, span}) {
	const unknown = items.filter(row => !row.priced).map(row => `${row.name} (${row.unpriced})`);
	if (!items.length) return html`<${Nothing} what="No tool was called" />`;
	return html`
		${unknown.length > 0 && html`<p class="warning">
			<strong>▲ Unpriced:</strong> ${unknown.join(", ")}. Nobody knows what these calls cost, so they are in no sum.
			Declare a price where the tool is defined.
		</p>`}
		<${Rows} title="Tools by what was spent on them" how=${how} rows=${items.map(row => ({...row, span}))} />
	`;
}

function Tool({how: {calibration: groups, ...how}, history, calibration, sample, declared, summary, ...data}) {
	const chart = (title, names, unit) => html`<${Card}>
		<${Series} title=${title} unit=${unit} t=${history.map(day => Date.parse(day.day) / 1000)}
			lines=${Object.entries(names).map(([key, label]) => ({
				label,
				values: history.map(day => day[key] && Number(day[key]))
			}))}
			label=${dayOf} cursor="tool" />
	<//>`;
	return html`
		${declared && html`<p class="muted">
			<code>${declared.signature}</code>, declared in this server’s catalogue (version ${declared.version}):
			<strong> ${declared.price}</strong>
		</p>`}
		${summary
			? html`
					<${Rows} title="All calls" rows=${[{...summary, rule: declared?.price}]} how=${how} />
					${sample < summary.n && html`<p class="muted">
						Single prices are of ${number(sample)} of ${number(summary.n)} calls: the latest of every day.
					</p>`}
					<h2 class="sr">By day, and against what was predicted</h2>
					<div class="grid pairs">
						${chart(
							"Price of a call",
							{price_p50: "actual p50", price_p90: "actual p90", est_p50: "estimate p50"},
							dollars
						)}
						${chart("Time of a call", {p50_ms: "p50", p95_ms: "p95", p99_ms: "p99"}, duration)}
						<${Calibration} title="Price: predicted across, actual up" of=${calibration.cost} unit=${dollars}
							how=${groups} />
						<${Calibration} title="Time: predicted across, actual up" of=${calibration.ms} unit=${duration}
							how=${groups} />
					</div>
				`
			: html`<${Nothing} what="It was not called" />`}
		${TABLES.map(
			([title, key, shown]) => data[key].length > 0 && html`<${Rows} title=${title} shown=${shown} rows=${data[key]} />`
		)}
	`;
}

/** Groups of calls by what was predicted: on the diagonal the prediction was right on average. */
function Calibration({title, of, unit, how}) {
	const bins = of.bins.map((bin, id) => ({id, n: bin.n, predicted: Number(bin.predicted), actual: Number(bin.actual)}));
	const most = Math.max(0, ...bins.map(bin => Math.max(bin.predicted, bin.actual))) || 1;
	const says = !bins.length
		? "no call had both"
		: `bias ${signed(of.bias, 1)}, median error ${percent(of.median_error, 1)}, ` +
			`${percent(of.coverage, 1)} of ${number(of.bounded)} calls within p95 (aim: 95 %)`;
	return html`<${Card}>
		<${Twin} title=${title} rows=${bins} note=${says} tools=${html`<${How} of=${title}>${how}<//>`}
			columns=${columns("n:calls:n|predicted:mean predicted:n|actual:mean actual:n", {predicted: unit, actual: unit})}>
			<${Plot} says="${title}: ${says}" most=${most} unit=${unit}
				names=${[0, 0.25, 0.5, 0.75, 1].map(at => [at, unit(at * most)])}>${({x, y}) => html`
				<path class="ideal" d="M${x(0)} ${y(0)}L${x(1)} ${y(most)}" />
				${bins.map(bin => html`<circle cx=${x(bin.predicted / most)} cy=${y(bin.actual)} r="5" />`)}
			`}<//>
		<//>
	<//>`;
}
