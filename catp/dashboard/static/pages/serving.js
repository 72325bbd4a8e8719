// The inference engine, live: what it does now, the last hours, its requests, and what is expected of them.
import {html, useEffect, useState} from "../vendor/vendor.js";
import {get} from "../api.js";
import {useData, useEvents} from "../store.js";
import {Card, Empty, Figure, Loaded, Money, Sign, duration, number, percent} from "../parts/basics.js";
import {Pick} from "../parts/bound.js";
import {columns} from "../parts/columns.js";
import {Series} from "../parts/series.js";
import {Table} from "../parts/table.js";

const SPANS = {900: [1, "15 minutes"], 3600: [10, "hour"], 21600: [60, "6 hours"], 86400: [60, "24 hours"]};
const STATES = {ready: "✓ good", starting: "◔ busy", draining: "■ warn", unreachable: "✕ bad"};
const UNITS = {n: value => number(value, 1), "%": percent, r: value => `${number(value, 1)}/s`, ms: duration};

export default function Page({query}) {
	const span = SPANS[query.get("span")] ? query.get("span") : "900";
	const names = useData("engine/figures"),
		first = useData("engine/now"),
		[heard, setHeard] = useState(null);
	useEvents("engine", {event: setHeard});
	return html`<div class="serving">
		<div class="row apart">
			<h1>Serving</h1>
			<${Pick} of="span" label="Last" options=${Object.entries(SPANS).map(([key, [, text]]) => [key, text])} />
		</div>
		<${Loaded} of=${heard ? {data: heard} : first} what="the engine">${now =>
			now.state === "absent"
				? html`<${Empty} title="No engine runs" command="catp serve --model catp-tiny"><p>${now.reason}</p><//>`
				: names.data &&
					html`
						<${Now} now=${now} names=${names.data.figures} />
						<${Panels} key=${span} span=${Number(span)} now=${now} names=${names.data.panels} />
						<${Requests} names=${names.data} tick=${Math.floor(now.t / 3)} />
					`}<//>
	</div>`;
}

function Now({now: {figures, totals, ...now}, names}) {
	const all = {...totals, ...figures};
	return html`<${Card} aria-label="State">
		<p class="row">
			<b><${Sign} of=${STATES[now.state]}>${now.state}<//></b> ${now.model} <code>${now.url}</code>
			<span class="muted">${now.facts.join(" · ")}</span>
			${now.alerts.map(text => html`<b class="chip bad">▲ ${text}</b>`)}
		</p>
		${(now.problem || now.reason) && html`<p class="warn" role="alert">${now.problem || now.reason}</p>`}
		${all.running !== undefined && html`<dl class="figures">${names.map(
			({title, unit, key, how}) => html`<${Figure} label=${title} how=${how}>${UNITS[unit](all[key])}<//>`
		)}</dl>`}
	<//>`;
}

/** Charts: fetched for a span, then lengthened by every look where a second is a point. */
function Panels({span, now, names}) {
	const [step] = SPANS[span],
		[shown, setShown] = useState(null);
	useEffect(() => {
		const load = () =>
			get("engine/series", {from: new Date(Date.now() - span * 1000).toISOString(), step}).then(setShown, () => {});
		load();
		const again = step > 1 && setInterval(load, 1e4);
		return () => clearInterval(again);
	}, []);
	useEffect(() => {
		if (step > 1 || !(now.t > shown?.t.at(-1))) return;
		const from = shown.t.findIndex(t => t > now.t - span),
			{step: _, ...lines} = shown,
			newest = {t: now.t, ...now.figures};
		setShown(
			Object.fromEntries(
				Object.entries(lines).map(([key, values]) => [key, [...values.slice(from), newest[key] ?? null]])
			)
		);
	}, [now]);
	return (
		shown &&
		html`
			<h2 class="sr">Over time</h2>
			<div class="grid">${names.map(
				({title, unit, lines}) => html`<${Card}>
					<${Series} title=${title} t=${shown.t} unit=${UNITS[unit]} cursor="engine" height=${150}
						lines=${lines.map(({key, label}) => ({label, values: shown[key]}))} />
				<//>`
			)}</div>
		`
	);
}

function Requests({names, tick}) {
	const found = useData("engine/requests", {limit: 50}),
		slo = useData("engine/slo");
	useEffect(() => (found.reload(), slo.reload()), [tick]);
	return html`
		<${Card} title="Requests">
			<${Loaded} of=${found}>${({items, queue, problem}) => {
				const whole = Math.max(1, ...items.map(row => row.e2e_ms ?? row.age_ms));
				const more = {
					state: (word, {code}) => `${word} ${code}`,
					kind: (word, {adapter}) => `${word} ${adapter}`,
					cost: (cost, {e2e_ms: end}) => end !== null && html`<${Money} amount=${cost} />`,
					slo: (limits, {met}) =>
						Object.entries(limits).map(([key, limit]) => {
							const of = {true: "✓ good", false: "✕ bad"}[met[key]] ?? "◔ muted";
							return html`<${Sign} of=${of}>${key} ≤ ${duration(limit)}<//> `;
						}),
					chunks: (_, row) => html`<${Bar} row=${row} whole=${whole} />`
				};
				return html`
					${problem && html`<p class="warn">${problem}</p>`}
					<p>${queue.map(
						one => html`<span class="chip">
							oldest of ${one.waiting} waiting, ${one.slo}: ${duration(one.oldest_ms)}
						</span> `
					)}</p>
					<${Table} caption="Requests, the newest first" rows=${items} columns=${columns(names.requests, more)} />
					<p class="muted spans">
						<i class="queue"></i> queue <i class="prefill"></i> prefill <i class="decode"></i> decode; a whole bar is ${duration(whole)}
					</p>
				`;
			}}<//>
		<//>
		<${Card} title="Expectations">
			<${Loaded} of=${slo}>${({items, how}) => html`
				<${Table} caption="Expectations met" rows=${items} columns=${columns(names.slo)} />
				<p class="muted">${how}</p>
			`}<//>
		<//>
	`;
}

function Bar({row, whole}) {
	const end = row.e2e_ms ?? row.age_ms,
		queued = row.queued_ms ?? end,
		{chunks, ttft_ms: first} = row;
	const share = ms => (200 * Math.min(ms, whole)) / whole,
		prefill = chunks.reduce((sum, one) => sum + one[1], 0);
	const rect = (kind, from, took, high) => html`<rect class=${kind} x=${share(from)} y=${7 - high / 2} height=${high}
		width=${Math.max(1, share(took))} />`;
	const text = `queued ${duration(queued)}, prefill ${duration(prefill)} in ${chunks.length} steps, decode ${duration(first && end - first)}`;
	return html`<svg class="spans" width="200" height="14" role="img" aria-label=${text}>
		${rect("queue", 0, queued, 2)}${first !== null && rect("decode", first, end - first, 6)}
		${chunks.map(([begin, took]) => rect("prefill", begin, took, 12))}
	</svg>`;
}
