// One step: its cost, attempts and values. Values are hostile: shown as text, never interpreted.
import {html, useEffect, useRef} from "../vendor/vendor.js";
import {url} from "../api.js";
import {setQuery, useData} from "../store.js";
import {Figure, Loaded, Status, duration, number, usd} from "./basics.js";
import {Pick, shown} from "./bound.js";
import {columns} from "./columns.js";
import {Table} from "./table.js";
import {PICTURE, Slider, Value} from "./values.js";

const TABS = {step: "Step", values: "Inputs and outputs", money: "Money"};

export function Detail({state, id, close}) {
	const node = state.nodes.value[id],
		heading = useRef(null),
		tab = shown("tab", "step"),
		path = `runs/${state.run.value.id}/nodes/${encodeURIComponent(id)}`;
	// asked again when something happened
	const found = useData(path, {now: node && `${node.status} ${node.calls} ${node.actual.rows}`});
	useEffect(() => void (document.activeElement !== document.body && heading.current?.focus()), []);
	return html`<aside class="card detail" aria-labelledby="detail">
		<div class="row apart">
			<h2 id="detail" tabindex="-1" ref=${heading}><bdi>${id}</bdi></h2>
			${node && html`<${Status} ...${node} />`}
			<button class="quiet" onClick=${close}>Close</button>
		</div>
		<div class="row" role="group" aria-label="Detail">${Object.entries(TABS).map(
			([key, text]) => html`<button aria-pressed=${tab === key}
				onClick=${() => setQuery({tab: key === "step" ? null : key})}>${text}</button>`
		)}</div>
		${tab === "values"
			? html`<${Values} path=${path} key=${node?.status} />`
			: html`<${Loaded} of=${found} what="the step">${found =>
					node && html`<${tab === "money" ? Bill : Facts} ...${{...node, ...found, path}} />`}<//>`}
	</aside>`;
}

/** A long list is cut by the server; the rest is JSON. */
const cut = (path, n, all) =>
	n < all && html`<p class="muted">The first ${n} of ${number(all)}: <a href=${url(path, {limit: 1e4})}>all</a></p>`;
const none = text => html`<p class="muted">${text}</p>`;
const CALLS = columns("attempt:attempt:n|tool:tool|outcome:end|cost:cost:$|ms:time:ms", {
	attempt: (n, {element}) => `${n}${element === null ? "" : ` [${element}]`}`,
	tool: (tool, {version}) => `${tool} ${version}`,
	outcome: (end, {cached, error}) => html`
		${cached ? "from the cache" : (end ?? "runs")}
		${error && html`: <bdi class="bad">${error.reason ?? error.type}</bdi>`}
	`
});

function Facts({path, calls, est, actual, critical, slack_ms, error, reason, attempts, alternatives}) {
	const source =
		{call: "what was said when it was called", history: `what ${est.n} steps with this tool took before`}[est.source] ??
		"not known";
	const figure = (label, how, text, expected) => html`<${Figure} label=${label} how=${how}>
		${text}${expected && html` <small>est. ${expected}</small>`}
	<//>`;
	return html`
		<dl class="figures">
			${figure(
				"Cost",
				`Sum of its ledger rows; the estimate is ${source}.`,
				actual.cost !== null ? usd(actual.cost) : actual.unpriced ? "unpriced" : "–",
				est.cost.p50 && usd(est.cost.p50)
			)}
			${figure(
				"Time",
				`From its first call to its end; the estimate is ${source}.`,
				duration(actual.ms),
				est.ms.p50 && duration(est.ms.p50)
			)}
			${figure("Waited", "From ready to its first call.", duration(actual.queue_ms))}
			${figure(
				"Slack",
				"How much longer it may take before the run does.",
				critical ? "none: critical" : duration(slack_ms)
			)}
		</dl>
		${(error || reason) && html`<p class="failure" dir="auto">${error
			? `${error.type}: ${error.reason ?? ""}`
			: reason}</p>`}
		<h3>Attempts</h3>
		${attempts.length
			? html`<${Table} caption="Attempts" columns=${CALLS} rows=${attempts} />`
			: none("It was not called.")}
		${cut(`${path}/calls`, attempts.length, calls)}
		${alternatives[0] && html`
			<h3>Other tools for it</h3>
			<ul>${alternatives.map(
				({tool, planned, n, cost, ms, price}) => html`<li>
					<b>${tool}</b>
					${planned && ", planned"}: ${n ? `usually ${usd(cost)}, ${duration(ms)}` : price}
				</li>`
			)}</ul>
		`}
	`;
}

const ROWS = columns(
	"kind:for|quantity:quantity:n|unit_price:unit price:n|amount:amount:$|source:source|saved:saved:$",
	{
		kind: (kind, {note}) => html`${kind} <small dir="auto">${note}</small>`,
		quantity: (n, {unit}) => `${number(n, 6)} ${unit}`,
		unit_price: price => price,
		source: (source, {overrun}) => `${source}${overrun ? ", over the estimate" : ""}`,
		saved: saved => saved && usd(saved)
	}
);

function Bill({path, rows: all, ledger, attempts, prices, sums, ...whole}) {
	const attempt = shown("attempt"),
		rows = ledger.filter(row => !attempt || row.attempt === Number(attempt)),
		tries = Object.keys(sums);
	const {total, unpriced} = sums[attempt] ?? whole,
		keys = [...new Set(attempts.map(one => one.key).filter(Boolean))];
	return html`
		${Object.entries(prices).map(
			([tool, rule]) => html`<p><b>${tool}</b>: ${rule ?? "this server does not know its price"}</p>`
		)}
		${tries[1] && html`<${Pick} of="attempt" label="attempt" options=${[["", "all"], ...tries]} />`}
		${rows[0] ? html`<${Table} caption="Ledger rows" columns=${ROWS} rows=${rows} />` : none("Nothing was paid.")}
		${cut(`${path}/ledger`, ledger.length, all)}
		<p>
			Sum <strong>${total === null ? "–" : usd(total)}</strong>
			${unpriced > 0 && html` <span class="chip warn">+ ${unpriced} unpriced</span>`}
		</p>
		${keys[0] && html`<p class="muted">
			Cache key <code>${keys[0]}</code>
			${keys[1] && ` and ${keys.length - 1} more`}
		</p>`}
	`;
}

// --- values

function Values({path}) {
	const one = all => all.length === 1 && PICTURE.test(all[0].mime) && all[0].artifact;
	return html`<${Loaded} of=${useData(`${path}/io`)} what="the values">${({in: given, out}) => html`
		${one(given) && one(out) && html`<${Slider} before=${one(given)} after=${one(out)} />`}
		${[["In", given], ["Out", out]].map(
			([title, all]) => html`
				<h3>${title}</h3>
				${all[0]
					? html`<ul class="values">${all.map(one => html`<${Value} ...${one} />`)}</ul>`
					: none("Nothing was kept.")}
			`
		)}
	`}<//>`;
}
