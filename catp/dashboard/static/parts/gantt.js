// The steps of a run as a table whose last column is time: estimate, waiting, attempts, slack.
import {computed, html, signal, useMemo} from "../vendor/vendor.js";
import {setQuery} from "../store.js";
import {Money, Status, duration, stateOf, usd} from "./basics.js";
import {Find, Pick, shown} from "./bound.js";
import {signed} from "./columns.js";
import {OVER} from "./runstate.js";

const PAGE = 200;

/** Share of the time axis under the pointer, in all charts; null while there is none. */
export const cursor = signal(null);

const tickOf = span => {
	const size = 10 ** Math.floor(Math.log10(span / 5));
	return size * [1, 2, 5, 10].find(by => span / (size * by) <= 5);
};
/** "from|to" in ms: of the whole run, or of the attempts chosen; in whole ticks, so that it rarely changes. */
export const axisOf = ({run, nodes, now}, tries) =>
	computed(() => {
		const all = tries === "all";
		let from = all ? 0 : Infinity,
			to = all ? Math.max(now.value, run.value.latency_ms) : 0;
		for (const node of Object.values(nodes.value)) {
			for (const [start, end] of spans(node, tries, now.value))
				((from = Math.min(from, start)), (to = Math.max(to, end)));
			if (all && !OVER.has(node.status)) to = Math.max(to, (node.actual.start_ms ?? node.starts_ms) + node.est.ms.p50);
		}
		const tick = tickOf(to > from ? to - from : 1);
		return to > from ? `${Math.floor(from / tick) * tick}|${Math.ceil(to / tick) * tick}` : "0|1";
	});
export const readAxis = axis => {
	const [from, to] = axis.value.split("|").map(Number);
	return {from, to, x: ms => (100 * (ms - from)) / (to - from)};
};

/** [start, end, outcome] of the attempts of a node. */
function spans({spans: many, actual: {start_ms, end_ms}, status, attempt}, tries, now) {
	if (start_ms === null) return [];
	const all = (many.length ? many : [[attempt, start_ms, end_ms, status]]).map(([n, start, end, outcome]) => [
		start,
		end ?? now ?? start,
		outcome,
		n
	]);
	return tries === "all" ? all : all.filter(([, , , n]) => n === (tries === "last" ? attempt : Number(tries)));
}

const off = ({est, actual, status}) =>
	OVER.has(status) && actual.cost !== null && est.cost.p50 > 0 ? actual.cost / est.cost.p50 - 1 : null;
const COLUMNS = {
	// title, what is sorted by
	step: ["Step", node => node.id],
	status: ["Status", node => stateOf(node.status)[1]],
	cost: ["Cost", node => Number(node.actual.cost ?? node.est.cost.p50)],
	delta: ["Δ", off],
	time: ["Time", node => node.actual.ms ?? node.est.ms.p50],
	start: ["Start", node => node.actual.start_ms ?? node.starts_ms]
};
const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : (a ?? -1) - (b ?? -1));
const LEGEND =
	"est,estimate|wait,waiting|did,at work|did cached,from the cache|did bad,failed attempt|slack,slack".split("|");

/** axis: what axisOf gave; open(id) shows a step. */
export function Gantt({state, axis, open}) {
	const sort = shown("sort"),
		key = sort.replace("-", ""),
		down = sort !== key,
		selected = shown("step"),
		find = shown("find"),
		known = state.nodes.peek();
	void state.run.value; // sorted anew when figures come, not at every event
	const ids = state.ids.value.filter(id => `${id} ${known[id].tool}`.includes(find)),
		by = COLUMNS[key]?.[1];
	if (by) ids.sort((a, b) => compare(by(known[a]), by(known[b])) * (down ? -1 : 1));
	const last = Math.max(0, Math.ceil(ids.length / PAGE) - 1),
		most = Math.max(1, ...Object.values(known).map(node => node.attempt));
	const page = Math.min(last, Number(shown("rows", Math.max(0, Math.floor(ids.indexOf(selected) / PAGE))))),
		rows = ids.slice(page * PAGE, (page + 1) * PAGE);
	const keys = event => {
		const {key, target} = event,
			next = {j: "next", ArrowDown: "next", k: "previous", ArrowUp: "previous"}[key];
		if (!target.dataset.step || (!next && key !== "Enter")) return;
		event.preventDefault();
		if (next) target[`${next}ElementSibling`]?.focus();
		else open(target.dataset.step);
	};
	const link = ({type, target}) => {
		document.querySelector(".graph .linked")?.classList.remove("linked");
		if (/over|in$/.test(type))
			document
				.querySelector(`.graph [data-id="${CSS.escape(target.closest("tr").dataset.step)}"]`)
				?.classList.add("linked");
	};
	const point = ({target, clientX}) => {
		const cell = target.closest("td.time");
		cursor.value = cell && (clientX - cell.getBoundingClientRect().left) / cell.clientWidth;
	};
	const {from, to, x} = readAxis(axis),
		tick = tickOf(to - from),
		ticks = Array.from({length: Math.round((to - from) / tick)}, (_, i) => from + i * tick);
	const turn = (to, text) => html`<button disabled=${to < 0 || to > last} onClick=${() => setQuery({rows: to})}>${text}</button>`;
	return html`
		<div class="row apart">
			<h2>Timeline</h2>
			<div class="row">
				${most > 1 && html`<${Pick} of="tries" label="attempts"
					options=${["all", "last", ..."123456789".slice(0, most)]} />`}
				${(last > 0 || find) && html`
					<${Find} of="find" />
					${turn(page - 1, "Previous rows")}
					<span role="status">${page * PAGE + 1}–${page * PAGE + rows.length} of ${ids.length}</span>
					${turn(page + 1, "Next rows")}
				`}
			</div>
		</div>
		<div class="scroll" tabindex="0" role="region" aria-label="Steps over time">
			<table class="gantt" style="--cursor:${cursor.value ?? -1}" onMouseMove=${point} onMouseLeave=${point}>
				<caption class="sr">Steps: status, cost, time</caption>
				<thead>
					<tr>${Object.entries(COLUMNS).map(
						([name, [title]]) => html`<th scope="col" class=${name}
							aria-sort=${key === name ? (down ? "descending" : "ascending") : undefined}>
							<button class="quiet"
								onClick=${() => setQuery({sort: sort === `-${name}` ? name : sort === name ? null : `-${name}`})}>
								${title}
								${/cost|time/.test(name) && html`<span class="muted">, est → actual</span>`}
								<span aria-hidden="true">${key === name && (down ? " ▾" : " ▴")}</span>
							</button>
							${name === "start" &&
								ticks.map(ms => html`<span class="tick" style="left:${x(ms)}%">${ms ? duration(ms) : 0}</span>`)}
						</th>`
					)}</tr>
				</thead>
				<tbody onKeyDown=${keys} onMouseOver=${link} onMouseLeave=${link} onFocusIn=${link} onFocusOut=${link}>${rows.map(
					id => html`<${Row} key=${id} id=${id} ...${{state, axis, open}} on=${id === selected} />`
				)}</tbody>
			</table>
		</div>
		<p class="muted legend">
			${LEGEND.map(one => one.split(",")).map(([kind, text]) => html`<span><i class=${kind}></i> ${text}</span> `)}◆ on
			the critical path
		</p>
	`;
}

function Row({state, id, axis, open, on}) {
	// nothing is drawn if another one changes
	const node = useMemo(() => computed(() => state.nodes.value[id]), [state, id]).value;
	if (!node) return null;
	const {est, actual, status, cached, critical, slack_ms} = node,
		change = off(node),
		expected = est.ms.p50,
		{x, from, to} = readAxis(axis);
	// only what runs now follows the clock
	const now = actual.start_ms !== null && actual.ms === null ? state.now.value : null;
	const did = spans(node, shown("tries", "all"), now),
		ms = actual.ms ?? (now && now - actual.start_ms);
	const part = (kind, start, end) => {
		const [a, b] = [Math.max(from, start), Math.min(to, end)].map(x);
		return b >= 0 && a <= 100 && html`<i class=${kind} style="left:${a}%;width:${b - a}%"></i>`;
	};
	const start = did[0]?.[0] ?? (OVER.has(status) ? null : node.starts_ms),
		end = did.at(-1)?.[1] ?? start + expected;
	const kind = outcome => (cached ? "cached" : /error|timeout|failed/.test(outcome) ? "bad" : now ? "busy" : "");
	const both = (before, after) => html`<td class="num">
		${before && html`<span class="muted">${before} → </span>`}${after}
	</td>`;
	return html`<tr tabindex="0" class="open ${on ? "chosen" : ""}" data-step=${id} onClick=${() => open(id)}>
		<th scope="row" class="step">
			<bdi>${id}</bdi>
			${critical && html`<span aria-hidden="true"> ◆</span><span class="sr">, on the critical path</span>`} <small>
				<bdi>${node.tool}</bdi>
				${!node.in_plan && " (earlier plan)"}
			</small>
		</th>
		<td><${Status} ...${{status, cached}} /></td>
		${both(
			est.cost.p50 && usd(est.cost.p50),
			actual.cost !== null ? usd(actual.cost) : actual.unpriced ? html`<${Money} amount=${null} />` : "–"
		)}
		<td class="num ${change > 0.1 ? "warn" : ""}">${change !== null && signed(change)}</td>
		${both(expected > 0 && duration(expected), duration(ms))}
		<td class="time ${critical ? "critical" : ""}">
			<div>${start !== null && [
					expected > 0 && part("est", start, start + expected),
					did[0] && actual.queue_ms > 0 && part("wait", start - actual.queue_ms, start),
					did.map(([a, b, outcome]) => part(`did ${kind(outcome)}`, a, b)),
					slack_ms > 0 && part("slack", end, end + slack_ms)
				]}</div>
		</td>
	</tr>`;
}
