// Two to five runs beside each other: columns A to E, in the order of the address; others are held against A.
import {html, useState} from "../vendor/vendor.js";
import {setQuery, useData, useEvents, useSoon} from "../store.js";
import {Card, Choice, Empty, Link, Loaded, Status, duration, number, usd} from "../parts/basics.js";
import {columns, maybe} from "../parts/columns.js";
import {PICTURE, Slider, Value, visible} from "../parts/values.js";
import {Graph} from "../parts/graph.js";
import {Table, Twin} from "../parts/table.js";

const LETTERS = "ABCDE",
	MOST = 40;

export default function Compare({query}) {
	const ids = (query.get("ids") ?? "").split(",").filter(Boolean);
	const found = useData(ids.length > 1 ? "compare" : null, {ids: ids.join(), pair: query.get("pair")});
	const soon = useSoon(found.reload);
	useEvents(
		found.data?.runs.some(run => !run.ended) ? "runs" : null,
		{event: ({run}) => ids.includes(run) && soon(), resync: found.reload},
		[ids.join()]
	);
	return html`
		<h1>Compare</h1>
		<${Picker} ids=${ids} runs=${found.data?.runs ?? []} />
		${ids.length < 2
			? html`<${Empty} title="Pick ${ids.length ? "one more run" : "two to five runs"}">
					<p>Search above, or select them in <${Link} to="runs">the list of runs<//>.</p>
				<//>`
			: html`<${Loaded} of=${found} what="the comparison">${data => html`<${Compared} ...${{data, query}} />`}<//>`}
	`;
}

const about = run => html`<bdi>${run.task || run.id}</bdi> <span class="muted">
	${run.policy} · ${usd(run.cost.amount)} · ${run.id.slice(-6)}
</span>`;

function Picker({ids, runs}) {
	const [q, setText] = useState("");
	const offered = useData(ids.length < 5 ? "runs" : null, {q, limit: 8}).data?.items.filter(
		run => !ids.includes(run.id)
	);
	const put = next => setQuery({ids: next.join() || null, pair: null, step: null});
	return html`<${Card} aria-label="Runs to compare">
		<ul class="compared">${ids.map((id, i) => {
			const run = runs.find(one => one.id.endsWith(id));
			return html`<li key=${id}>
				<b>${LETTERS[i]}</b> <${Link} to="runs/${id}">${run
					? about(run)
					: id}<//> ${run && html`<${Status} status=${run.status} />`}
				<button class="quiet" onClick=${() => put(ids.filter(one => one !== id))}>
					Leave out<span class="sr"> ${LETTERS[i]}</span>
				</button>
			</li>`;
		})}</ul>
		${ids.length < 5 && html`<details open=${ids.length < 2}>
			<summary>Add a run</summary>
			<input type="search" aria-label="Search runs by task or id" value=${q}
				onInput=${({target}) => setText(target.value)} />
			<ul class="compared offered">${offered?.map(
				run => html`<li key=${run.id}>
					<button class="quiet" onClick=${() => put([...ids, run.id])}>＋ ${about(run)}</button>
				</li>`
			)}</ul>
		</details>`}
	<//>`;
}

function Compared({data, query}) {
	const ids = data.runs.map(run => run.id),
		pair = [data.waterfall.from, data.waterfall.to],
		letter = id => LETTERS[ids.indexOf(id)];
	const end = (label, at) => html`<${Choice} label=${label} value=${pair[at]}
		options=${ids.filter(id => id !== pair[1 - at]).map(id => [id, letter(id)])}
		pick=${id => setQuery({pair: (at ? [pair[0], id] : [id, pair[1]]).join()})} />`;
	const all = {data, ids, a: letter(pair[0]), b: letter(pair[1]), pair, step: query.get("step")};
	return html`
		<${Card} title="Figures"><${Figures} ...${all} /><//>
		<${Card} title="Plans, one over the other"><${Merged} ...${all} /><//>
		${ids.length > 2 && html`<div class="row card">Prices and outputs ${end("from", 0)}${end("to", 1)}</div>`}
		<${Card}><${Waterfall} ...${all} /><//>
		<${Card}><${Times} ...${all} /><//>
		<${Card} title="Outputs">${data.outputs.map(out => html`<${Output} key=${out.name} ...${out} ...${all} />`)}<//>
	`;
}

const SHOW = {USD: maybe, ms: duration, "": value => number(value, 3)};
const each = (ids, first, cell) => [
	{key: "id", title: first, sort: false},
	...ids.map((id, i) => ({key: id, title: LETTERS[i], num: true, sort: false, cell: row => cell(row, id, i)}))
];

function Figures({data: {kpi}, ids}) {
	const cell = ({unit, values, delta, better}, _, i) => {
		const by = Number(delta[i]),
			size = unit === "USD" ? delta[i]?.replace("-", "") : Math.abs(by);
		return html`
			${SHOW[unit](values[i])}
			${by !== 0 && html` <span class="muted">
				${by > 0 ? "▲ +" : "▼ −"}${SHOW[unit](size)} ${better && (by > 0 === (better === "high") ? "better" : "worse")}
			</span>`}
		`;
	};
	return html`
		<${Table} caption="Figures of the runs" columns=${each(ids, "figure", cell)} rows=${kpi} />
		<p class="muted">▲ more, ▼ less than A. Rows without a price are in no amount.</p>
	`;
}

const STEP = columns("letter:run|status:status|tool:tool|text:as planned|cost:cost:$?|ms:time:ms", {
	letter: (text, {id, step}) => html`<${Link} to="runs/${id}" query=${{node: step}}>${text} ${step}<//>`,
	status: status => html`<${Status} status=${status} />`
});

function Merged({data: {graph}, b, step}) {
	const chosen = graph.nodes.find(one => one.id === step);
	return html`
		<p class="muted">
			${graph.differ
				? `${graph.differ} steps differ: − missing in some run, ＋ not in A, ≠ changed`
				: "All do the same"}. Figures are those of ${b}.
		</p>
		<${Graph} layout=${graph.layout} plan=${graph} nodes=${graph.boxes} labels=${graph.labels} selected=${step}
			select=${id => setQuery({step: id === step ? null : id})} title="merged plan" />
		${chosen && html`<${Table} caption="Step ${step} in each run" columns=${STEP} rows=${chosen.each} />`}
	`;
}

/** rows: [[name, [[from, to, class, letter]], text]], all on one axis from 0 to `most`. */
const Bars = ({says, rows, most}) => html`<div class="aligned" role="img" aria-label=${says}>${rows.map(
	([name, bars, text]) => html`
		<bdi>${name}</bdi>
		<div>${bars.map(
			([from, to, kind, letter]) => html`<div class="track">
				<b>${letter}</b>
				<svg viewBox="0 0 ${most} 1" preserveAspectRatio="none">
					<rect class=${kind} height="1" x=${Math.min(from, to)} width=${Math.max(most / 300, Math.abs(to - from))} />
				</svg>
			</div>`
		)}</div>
		<span class="num">${text}</span>
	`
)}</div>`;

const FALL = columns("step:step|delta:change:$?|total:running total:$?|unpriced:rows without a price:n");

function Waterfall({
	data: {
		waterfall: {bars, start, end, delta, unchanged}
	},
	a,
	b
}) {
	const whole = (name, amount) => [`all of ${name}`, [[0, Number(amount), "whole"]], usd(amount)];
	const rows = bars
		.slice(0, MOST)
		.map(bar => [
			bar.step,
			[[Number(bar.from), Number(bar.total), Number(bar.delta) > 0 ? "more" : "less"]],
			`${usd(bar.delta, {sign: true})}${bar.unpriced ? ` + ${bar.unpriced} unpriced` : ""}`
		]);
	return html`<${Twin} title="What makes ${b} ${Number(delta) < 0
			? "cheaper"
			: "dearer"} than ${a}: ${usd(delta, {sign: true})}"
		columns=${FALL} rows=${bars}
		note="${usd(start)} and all changes make ${usd(end)}, exactly. ${unchanged} steps cost the same. Strong bars add, hollow ones save.${bars.length >
		MOST
			? " The table has all changes."
			: ""}">
		<${Bars} says="Price from ${a} to ${b}, step by step"
			most=${Math.max(start, end, ...bars.map(bar => bar.total), 1e-9)}
			rows=${[whole(a, start), ...rows, whole(b, end)]} />
	<//>`;
}

function Times({
	data: {
		gantt: {ms, rows}
	},
	ids
}) {
	const bar = (one, i) => [
		one.start_ms,
		one.end_ms ?? ms,
		one.cached ? "less" : one.critical ? "more" : "whole",
		LETTERS[i]
	];
	return html`<${Twin} title="When each step ran" rows=${rows}
		columns=${each(ids, "step", ({runs}, id) =>
			runs[id] ? `${duration(runs[id].start_ms)} – ${duration(runs[id].end_ms)}` : "–"
		)}
		note="From the start of each run, ${duration(ms)} in all. Strong bars are critical, hollow ones from the cache.${rows.length >
		MOST
			? " The table has all steps."
			: ""}">
		<${Bars} says="Times of the steps in each run" most=${ms || 1}
			rows=${rows
				.slice(0, MOST)
				.map(({step, runs}) => [
					step,
					ids.flatMap((id, i) => (runs[id] ? [bar(runs[id], i)] : [])),
					ids.map(id => duration(runs[id]?.ms)).join(" · ")
				])} />
	<//>`;
}

function Output({name, values, diff, ids, a, b, pair}) {
	const [old, now] = pair.map(id => values[id]),
		differ = diff?.some(([kind]) => kind !== "same");
	return html`<article class="output">
		<h3><bdi>${name}</bdi></h3>
		${[old, now].every(one => one?.artifact && PICTURE.test(one.mime)) && html`
			<p class="muted">${a} before, ${b} after</p>
			<${Slider} before=${old.artifact} after=${now.artifact} />
		`}
		${differ
			? html`
					<p><del>only in ${a}</del> <ins>only in ${b}</ins></p>
					<pre dir="auto" tabindex="0">${diff.map(([kind, text]) =>
						kind === "same" ? visible(text) : html`<${kind}>${visible(text)}<//>`
					)}</pre>
				`
			: diff && html`<p class="muted">The same text in ${a} and ${b}.</p>`}
		<details open=${!differ}>
			<summary>Side by side</summary>
			<ul class="values sides">${ids.map((id, i) =>
				values[id]?.status === "ok"
					? html`<${Value} port=${`${name} of ${LETTERS[i]}`} ...${values[id]} />`
					: html`<li>
							${LETTERS[i]} ${values[id]
								? html`<${Status} status=${values[id].status} /> <span dir="auto">${values[id].reason}</span>`
								: "has no such output"}
						</li>`
			)}</ul>
		</details>
	</article>`;
}
