// The list of runs: filters in the address, pages by key, new runs behind a pill, some to compare.
import {html, useEffect, useRef, useState} from "../vendor/vendor.js";
import {get, url} from "../api.js";
import {go, remember, remembered, setQuery, useData, useEvents} from "../store.js";
import {
	Choice, Empty, Failure, Link, Loading, Money, Status, When, duration, number, stateOf, usd
} from "../parts/basics.js";
import {Pick} from "../parts/bound.js";
import {signed} from "../parts/columns.js";
import {Table} from "../parts/table.js";

const FILTERS = [
	"q", "status", "project", "policy", "tool", "cost_min", "cost_max", "quality_min", "quality_max", "plan", "from", "to",
	"sort"
];
const SHOWN = 300; // rows in the document at a time
const listed = text => (text ?? "").split(",").filter(Boolean);
const toggled = (all, one) =>
	(all.includes(one) ? all.filter(other => other !== one) : [...all, one]).join(",") || null;

export default function Runs({query}) {
	const filter = Object.fromEntries(FILTERS.map(key => [key, query.get(key)]).filter(([, value]) => value));
	const list = useRuns(filter, JSON.stringify(filter)),
		{rows, error, more, newer, first} = list;
	const facets = useData("runs/facets", {...filter, status: null, sort: null});
	const picked = listed(query.get("ids"));
	return html`
		<h1>Runs</h1>
		<${Filters} ...${{filter, facets: facets.data ?? {}}} />
		<div class="row apart">
			<div class="row" role="status">
				${rows && html`<span class="muted">
					${number(rows.length)} of ${number(list.total)}${list.total >= 1e4 && " or more"} loaded
				</span>`}
				${newer?.length > 0 && html`<button class="first" onClick=${list.take}>${newer.length} new</button>`}
			</div>
			<div class="row">
				${picked.length > 0 && html`
					${picked.length} selected ${picked.length > 1 && picked.length < 6
						? html`<${Link} to="compare" query=${{ids: picked.join(",")}}>Compare<//>`
						: "(two to five can be compared)"}
					<button onClick=${() => setQuery({ids: null})}>Clear</button>
				`}
				<a href=${url("runs.csv", filter)} download="runs.csv">Export CSV</a>
			</div>
		</div>
		${error && html`<${Failure} error=${error} retry=${list.reload} />`}
		${!rows
			? !error && html`<${Loading} what="runs" />`
			: rows.length
				? html`<${Table} caption="Runs" columns=${columns(filter.sort, picked)} busy=${list.stale}
						rows=${rows.slice(first, first + SHOWN)} open=${row => go(`runs/${row.id}`)} />`
				: Object.keys(filter).some(key => key !== "sort")
					? html`<${Empty} title="No run matches"><button onClick=${() => go("runs")}>Clear the filters</button><//>`
					: html`<${Empty} title="No runs yet" command='catp run "tell me the language" -i text="Guten Tag"'>
							<p>The <${Link} to="">overview<//> has demo data.</p>
						<//>`}
		<div class="row">
			${first > 0 && html`<button onClick=${list.earlier}>Show the ${SHOWN} before</button>`}
			${more && !list.stale && html`<button onClick=${list.next}>Load more</button>`}
		</div>
	`;
}

/** Rows of a filter: pages as they are asked for, changes in place, new runs counted until they are taken. */
function useRuns(filter, key) {
	const [state, setState] = useState({key: null});
	const [turn, setTurn] = useState(0);
	const now = useRef(state),
		touched = useRef(new Set()),
		due = useRef(0),
		latest = useRef(null);
	const put = change => setState((now.current = {...now.current, ...change}));
	const fail = error => error.name !== "AbortError" && put({error});
	useEffect(() => {
		const stop = new AbortController();
		get("runs", filter, stop.signal).then(
			page =>
				put({key, rows: page.items, more: page.next, total: page.total_estimate, first: 0, newer: [], error: null}),
			fail
		);
		return () => (stop.abort(), clearTimeout(due.current), (due.current = 0));
	}, [key, turn]);
	const look = async () => {
		const {rows, key: of} = now.current,
			asked = touched.current;
		if (of !== key) return;
		touched.current = new Set();
		const {items} = await get("runs", filter),
			known = new Map(items.map(row => [row.id, row]));
		// what is no longer among them is looked up
		const others = rows.filter(({id}) => asked.has(id) && !known.has(id)).slice(0, 20);
		for (const {id} of others) known.set(id, (await get("runs", {q: id})).items[0]);
		const {rows: shown, key: at} = now.current; // new ones may have been taken
		if (at === key)
			put({
				error: null,
				rows: shown.map(row => known.get(row.id) ?? row),
				newer: filter.sort ? [] : items.filter(row => row.id > (shown[0]?.id ?? ""))
			});
	};
	latest.current = look;
	// one at a time: answers must not overtake each other
	const soon = () =>
		(due.current ||= setTimeout(
			() =>
				latest
					.current()
					.catch(fail)
					.finally(() => ((due.current = 0), touched.current.size && soon())),
			1000
		));
	const hear = ({run}) => (touched.current.add(run), soon());
	const reload = () => setTurn(n => n + 1);
	useEvents("runs", {event: hear, resync: reload}, [key]);
	const next = (_, cursor = now.current.more) =>
		get("runs", {...filter, cursor}).then(({items, next: more}) => {
			if (now.current.key !== key || now.current.more !== cursor) return;
			const rows = [...now.current.rows, ...items];
			put({rows, more, first: Math.max(0, rows.length - SHOWN)});
		}, fail);
	const {rows, newer, total, first} = state;
	const take = () => put({rows: [...newer, ...rows], newer: [], total: total + newer.length, first: 0});
	return {
		...state,
		stale: state.key !== key,
		next,
		reload,
		take,
		earlier: () => put({first: Math.max(0, first - SHOWN)})
	};
}

function columns(sort = "-created", picked) {
	const down = sort[0] === "-";
	const by = (key, title, cell) => ({
		key,
		cell,
		num: true,
		sort: () => 0, // the server sorts
		title: html`<button class="quiet"
			onClick=${() => setQuery({sort: {[`-${key}`]: key}[sort] ?? (key === "created" ? null : `-${key}`)})}>
			${title}
			${sort.endsWith(key) && html`
				<span aria-hidden="true"> ${down ? "▾" : "▴"}</span>
				<span class="sr">, sorted ${down ? "down" : "up"}</span>
			`}
		</button>`
	});
	const plain = (key, cell, num, title = key) => ({key, title, cell, num, sort: false});
	return [
		plain(
			"select",
			({id, task}) => html`<input type="checkbox" checked=${picked.includes(id)}
				aria-label="select ${task} ${id.slice(-4)}" onChange=${() => setQuery({ids: toggled(picked, id)})} />`,
			false,
			html`<span class="sr">select</span>`
		),
		plain("status", row => html`<${Status} status=${row.status} />`),
		plain(
			"task",
			row => html`
				<${Link} to="runs/${row.id}"><bdi>${row.task || row.id}</bdi><//>
				${row.parent && html` <span class="chip">replay</span>`}
			`
		),
		...["project", "policy"].map(key => plain(key, row => html`<bdi>${row[key]}</bdi>`)),
		plain("steps", ({progress: {done, total}}) => (done < total ? `${done}/${total}` : total), true),
		by(
			"cost",
			"cost",
			({cost, budget}) => html`
				<${Money} amount=${cost.amount} unpriced=${cost.unpriced} />
				${budget && html` <progress max=${budget} value=${cost.amount} aria-label="of the budget"></progress> <small class="muted">
					of ${usd(budget)}
				</small>`}
			`
		),
		plain("vs estimate", ({cost, ended}) => signed(ended && cost.est > 0 ? cost.amount / cost.est - 1 : null), true),
		plain(
			"quality",
			({quality: q, predicted_quality: p}) =>
				q !== null ? number(q, 2) : p !== null ? html`<span class="muted">~ ${number(p, 2)}</span>` : "–",
			true
		),
		by("latency", "time", row => duration(row.latency_ms)),
		by("created", "started", row => html`<${When} at=${row.created} />`)
	];
}

function Filters({filter, facets}) {
	const due = useRef(0),
		statuses = listed(filter.status);
	const [text, setText] = useState(filter.q); // while it is typed
	const type = ({target: {value}}) => (
		setText(value),
		clearTimeout(due.current),
		(due.current = setTimeout(() => ((due.current = 0), setQuery({q: value || null})), 250))
	);
	useEffect(() => due.current || setText(filter.q), [filter.q]);
	useEffect(() => () => clearTimeout(due.current), []);
	const of = key => html`<${Pick} of=${key} label=${key}
		options=${[["", "any"], ...(facets[key] ?? []).map(([name, n]) => [name, `${name} (${n})`])]} />`;
	const field = (key, label, type) => html`<label>
		${label} <input type=${type} step="any" value=${(filter[key] ?? "").slice(0, 10)}
			onChange=${({target}) => setQuery({[key]: target.value || null})} />
	</label>`;
	return html`<section class="card filters" aria-label="Filters">
		<div class="row">
			<input type="search" aria-label="Search tasks and ids" placeholder="Search" value=${text ?? ""} onInput=${type} />
			${["project", "policy", "tool"].map(of)}
			<${Views} />
		</div>
		<div class="row" role="group" aria-label="Status">${(facets.status ?? [])
			.toSorted()
			.map(
				([one, n]) => html`<button key=${one} aria-pressed=${statuses.includes(one)}
					onClick=${() => setQuery({status: toggled(statuses, one)})}>
					<span aria-hidden="true">${stateOf(one)[0]}</span> ${stateOf(one)[1]} ${number(n)}
				</button>`
			)}</div>
		<details open=${Object.keys(filter).some(key => /_m|plan|from|to$/.test(key))}>
			<summary>Cost, quality and time</summary>
			<div class="row">
				${field("cost_min", "from $", "number")}${field("cost_max", "to $", "number")}
				${field("quality_min", "quality from", "number")}${field("quality_max", "to", "number")}
				${filter.plan && html`<button onClick=${() => setQuery({plan: null})}>
					plan ${filter.plan.slice(0, 8)} ✕
				</button>`}
				${field("from", "from day", "date")}${field("to", "before day", "date")}
			</div>
		</details>
	</section>`;
}

/** Named filters, kept in this browser. */
function Views() {
	const [views, setViews] = useState(() => JSON.parse(remembered("views", "{}"))),
		names = Object.keys(views);
	const keep = () => {
		const name = prompt("Name of this view"),
			all = {...views, [name]: location.search};
		if (name) (setViews(all), remember("views", JSON.stringify(all)));
	};
	return html`
		${names.length > 0 && html`<${Choice} label="view" value="" options=${[["", "…"], ...names]}
			pick=${name => name && go("runs", Object.fromEntries(new URLSearchParams(views[name])))} />`}
		<button class="quiet" onClick=${keep}>Save view</button>
	`;
}
