// How this dashboard looks, how its server is set up, old runs to remove, every change.
import {html, useState} from "../vendor/vendor.js";
import {send, url} from "../api.js";
import {may, setQuery, theme, useData} from "../store.js";
import {Act, Card, Choice, Dialog, Link, Loaded, When, number} from "../parts/basics.js";
import {columns, toolLink} from "../parts/columns.js";
import {Demo} from "../parts/demo.js";
import {Table} from "../parts/table.js";

const said = value =>
	/^\d{4}-\d\d-\d\dT/.test(value)
		? html`<${When} at=${value} />`
		: value === null || value === ""
			? "–"
			: typeof value === "number"
				? number(value)
				: Array.isArray(value)
					? value.join(", ") || "none"
					: typeof value === "object"
						? Object.entries(value)
								.map(([key, one]) => `${key} ${said(one)}`)
								.join(", ") || "none"
						: String(value);
const Facts = ({title, of, children}) => html`<${Card} title=${title}>
	<dl class="facts">${Object.entries(of).map(
		([key, value]) => html`<dt>${key.replaceAll("_", " ")}</dt><dd>${said(value)}</dd>`
	)}</dl>
	${children}
<//>`;

export default function Page({query}) {
	const found = useData("settings"),
		demo = useData("demo"),
		[pruning, setPruning] = useState(false);
	const help = () => document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "?", bubbles: true}));
	return html`
		<h1>Settings</h1>
		<div class="grid">
			<${Card} title="This browser">
				<p class="row">
					<${Choice} label="Colour scheme" value=${theme.value} options=${["system", "light", "dark"]}
						pick=${value => (theme.value = value)} />
					<button onClick=${help}>Keyboard shortcuts</button>
				</p>
			<//>
			<${Loaded} of=${found} what="settings">${({store, versions, ...groups}) => html`
				<${Facts} title="Store" of=${store}>
					<p class="row">
						<a href=${url("runs.csv")} download>All runs as CSV</a> <${Link} to="spend">Budgets<//>
						${may("admin") && html`
							<button class="danger" onClick=${() => setPruning(true)}>Remove old runs …</button>
							${demo.data && html`<${Demo} there=${demo.data.exists}
								remove=${() => send("DELETE", "demo").then(demo.reload)} />`}
						`}
					</p>
				<//>
				${Object.entries(groups).map(([title, of]) => of && html`<${Facts} title=${title} of=${of} />`)}
				<${Facts} title="Versions" of=${versions} />
			`}<//>
		</div>
		<${Prices} />
		${may("admin") && html`<${Audit} page=${query.get("audit")} />`}
		${pruning && html`<${Prune} close=${() => (setPruning(false), found.reload())} />`}
	`;
}

function Prune({close}) {
	const [days, setDays] = useState(90),
		[counted, setCounted] = useState(null),
		{dry_run: dry, runs, says} = counted ?? {};
	const ask = async dry_run => setCounted(await send("POST", "prune", {days, dry_run}));
	return html`<${Dialog} title="Remove old runs" close=${close}>
		<label>
			Runs that ended, older than (days)
			<input type="number" min="1" value=${days}
				onInput=${event => (setDays(Number(event.target.value)), setCounted(null))} />
		</label>
		<p role="status">${says}</p>
		${dry && runs > 0
			? html`<${Act} class="danger" key="go" run=${() => ask(false)}>Remove ${number(runs)} runs for good<//>`
			: html`<${Act} key="count" run=${() => ask(true)}>Count them<//>`}
	<//>`;
}

const Prices = () => html`<section class="card prices">
	<h2>Prices</h2>
	<${Loaded} of=${useData("settings/prices")}>${({items, how}) => html`
		<p class="muted">${how}</p>
		<${Table} caption="Declared prices" rows=${items}
			columns=${columns("name:tool|price:price|version:version", {name: name => toolLink(name)})} />
	`}<//>
</section>`;

function Audit({page}) {
	const more = (text, audit) => html`<button onClick=${() => setQuery({audit})}>${text}</button>`;
	return html`<${Card} title="Changes">
		<${Loaded} of=${useData("audit", {cursor: page, limit: 20})}>${({items, next}) => html`
			<${Table} caption="Changes, the newest first" rows=${items}
				columns=${columns("at:when:at|actor:who|action:what|target:of|detail:detail", {detail: said})} />
			${items.length === 0 && html`<p class="muted">Nothing was changed.</p>`}
			<p class="row">${page && more("Newest", null)}${next && more("Older", next)}</p>
		`}<//>
	<//>`;
}
