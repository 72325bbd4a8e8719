// Spend: where the money went, whether it adds up, and whether the budgets will hold.
import {html, useState} from "../vendor/vendor.js";
import {may, setQuery, useData, useEvents, useSoon} from "../store.js";
import {send, url} from "../api.js";
import {Act, Card, Dialog, Empty, Figure, How, Loaded, Money, Sign, percent, usd} from "../parts/basics.js";
import {Pick, shown} from "../parts/bound.js";
import {columns, dollars, maybe, signed, toolLink} from "../parts/columns.js";
import {Field} from "../parts/forms.js";
import {dayOf, Nothing, Period, spanOf} from "../parts/period.js";
import {Plot} from "../parts/plot.js";
import {Series} from "../parts/series.js";
import {Table, Twin} from "../parts/table.js";

export default function Spend({query}) {
	const asked = {group: shown("group", "tool"), bucket: shown("bucket"), ...spanOf(query)};
	const found = useData("spend", asked),
		budgets = useData("budgets");
	const soon = useSoon(() => (found.reload(), budgets.reload()));
	useEvents("runs", {event: ({type}) => type === "run.finished" && soon(), resync: soon});
	return html`
		<div class="row apart">
			<h1>Spend</h1>
			<span class="row">
				<${Pick} of="group" label="by" options=${["tool", "policy", "project", "agent"]} />
				<${Pick} of="bucket" label="a bar is a" options=${["day", "hour"]} />
				<${Period} query=${query} />
				<a href=${url("spend.csv", asked)} download>CSV</a>
			</span>
		</div>
		<${Loaded} of=${found} what="spend">${data => html`<${Totals} data=${data} /><${Bars} data=${data} />`}<//>
		<${Loaded} of=${budgets} what="budgets">${data => html`<${Budgets} ...${data} query=${query}
			reload=${budgets.reload} />`}<//>
	`;
}

function Totals({data: {total, ledger_total, pruned, difference, unpriced, previous, per, how}}) {
	const each = (key, label) => html`<${Figure} label=${label} how=${how[key]}>${maybe(per[key].amount)}<//>`;
	const apart = Number(difference);
	return html`
		<dl class="figures card">
			<${Figure} label="spent" how=${how.total}><${Money} amount=${total} unpriced=${unpriced} /><//>
			<${Figure} label="change from the days before">
				${usd(previous.delta, {sign: true})}${previous.share !== null && ` (${signed(previous.share)})`}
			<//>
			${each("run", "per run")}
			${each("ok", "per successful run")}
			${each("quality", "per point of quality")}
			${each("tokens", "per 1,000 tokens")}
		</dl>
		<p class=${apart ? "bad" : "good"}>
			${apart ? `✕ does not add up by $${difference}` : "✓ adds up"}: ledger $${ledger_total} + runs no longer kept $${pruned} =
			this page $${total} <${How} of="this check">${how.reconcile}<//>
		</p>
	`;
}

function Bars({data: {bucket, buckets, series, chart, totals, total, group, note}}) {
	if (!buckets.length) return html`<${Nothing} what="Nothing was spent" />`;
	const names = buckets.map(at => at.slice(5).replace("T", " ").replace("Z", ""));
	const rows = buckets.map((id, at) => ({id, all: totals[at], ...series.map(one => one.values[at])}));
	const shown = columns(`id:${bucket}|all:all:$`).concat(
		series.map((one, i) => ({...columns(`${i}::$`)[0], title: one.key}))
	);
	const wide = 1 / buckets.length,
		colour = i => `var(--c${i + 1})`;
	const bar = (at, {x, y, width}) => {
		let so = 0;
		return chart.map(
			({values}, i) =>
				Number(values[at]) > 0 &&
				html`<rect x=${x((at + 0.1) * wide)} width=${width * wide * 0.8} y=${y((so += Number(values[at])))}
					height=${y(0) - y(Number(values[at]))} style="fill:${colour(i)}" />`
		);
	};
	return html`<${Card}>
		<h2 class="sr">Over time</h2>
		<${Twin} title="Spend by ${bucket} and ${group}" columns=${shown} rows=${rows} note=${note}>
			<${Plot} says="${usd(total)} in ${buckets.length} ${bucket}s; the table has the figures"
				most=${Math.max(...totals.map(Number))} unit=${dollars}
				names=${names.map((name, i) => [(i + 0.5) * wide, name])}>${plot =>
				buckets.map((_, at) => html`<g><title>${names[at]}: ${maybe(totals[at])}</title>${bar(at, plot)}</g>`)}<//>
			<ul class="key">${chart.map(
				(one, i) => html`<li>
					<i style="background:${colour(i)}"></i>
					${" "}
					${group === "tool" && one.key[0] !== "("
						? toolLink(one.key)
						: html`<bdi>${one.key}</bdi>`} <${Money} amount=${one.total} unpriced=${one.total && one.unpriced} />
				</li>`
			)}</ul>
		<//>
	<//>`;
}

// --- budgets

const LOOKS = {ok: "✓ good", warn: "▲ warn", over: "✕ bad"};

function Budgets({items, how, query, reload}) {
	const [open, setOpen] = useState(null); // [what to do, budget]
	const chosen = items.find(one => one.id === query.get("budget")) ?? items[0];
	const close = () => setOpen(null),
		done = () => (close(), reload());
	const shown = columns(
		"title:budget|share:spent:%|left:left:$|held:held:$|state:state|burn:a day:$?|" +
			`forecast.p50:p50 at the end:$?|forecast.p90:p90:$?|passes:passes the limit${may("admin") ? "|id:change" : ""}`,
		{
			title: (title, row) => html`<button class="quiet" aria-pressed=${row === chosen}
				onClick=${() => setQuery({budget: row.id})}>
				<bdi>${title}</bdi>
			</button>`,
			share: (share, row) => html`
				<meter aria-hidden="true" value=${share} low=${row.warn[0] ?? 1} high="1" optimum="0"></meter>
				${" "}
				${percent(share)}
				<br />
				<small class="muted">${usd(row.spent)} of ${usd(row.limit)}</small>
			`,
			state: (state, row) => html`<${Sign} of=${LOOKS[state]}>${row.says}<//>`,
			id: (_, row) => html`<span class="row">${["Change", "Remove"].map(
				what => html`<button onClick=${() => setOpen([what, row])}>
					${what}
					<span class="sr"> ${row.title}</span>
				</button>`
			)}</span>`
		}
	);
	return html`
		<${Card}>
			<div class="row apart">
				<h2>Budgets</h2>
				<span class="row muted">
					held <${How} of="what is held">${how.held}<//>
					forecast <${How} of="the forecast">${how.forecast}<//>
				</span>
				${may("admin") && html`<button onClick=${() => setOpen(["New"])}>New budget</button>`}
			</div>
			${items.length
				? html`<${Table} caption="Budgets" columns=${shown} rows=${items} />`
				: html`<${Empty} title="No budgets" command="catp budgets set project:default 5 --per day">
						<p>A budget caps what all runs of a project or an agent spend together.</p>
					<//>`}
			${open &&
				(open[0] === "Remove"
					? html`<${Dialog} title="Remove a budget" close=${close}>
							<p>The runs of ${open[1].title} go on without it.</p>
							<${Act} class="danger" run=${() => send("DELETE", `budgets/${open[1].id}`).then(done)}>Remove it<//>
						<//>`
					: html`<${Form} of=${open[1]} close=${close} done=${done} />`)}
		<//>
		${chosen && html`<${Outlook} of=${chosen} left=${query.get("show") === "left"} />`}
	`;
}

function Form({of, close, done}) {
	const [error, setError] = useState(null);
	const save = event => {
		event.preventDefault();
		const {limit, warn, ...whose} = Object.fromEntries(new FormData(event.target));
		const levels = warn
			.split(",")
			.filter(part => part.trim())
			.map(part => parseFloat(part) / 100);
		const body = {...whose, limit: limit.trim().replace("$", ""), warn: levels};
		(of ? send("PUT", `budgets/${of.id}`, body) : send("POST", "budgets", body)).then(done, setError);
	};
	const input = (name, label, defaultValue) => html`<${Field} required=${name !== "warn"} autocomplete="off"
		...${{name, label, defaultValue}} />`;
	return html`<${Dialog} title=${of ? `Change ${of.title}` : "New budget"} close=${close}>
		<form onSubmit=${save}>
			${!of && html`
				<${Field} name="scope" label="For" options=${[["project", "a project"], ["agent", "an agent"]]} />
				${input("name", "Name", "")}
				<${Field} name="period" label="Starts again"
					options=${[
						["total", "never"],
						["day", "every day (UTC)"],
						["week", "every Monday"],
						["month", "every month"]
					]} />
			`}
			${input("limit", "Limit in US dollars", of?.limit ?? "")}
			${input(
				"warn",
				"Warn once when so much is spent",
				(of?.warn ?? [0.8, 1]).map(level => `${+(level * 100).toFixed(4)}%`).join(", ")
			)}
			<button class="first">${of ? "Change it" : "Set it"}</button> ${error && html`<span class="bad" role="alert">${error.message}</span>`}
		</form>
	<//>`;
}

/** What is spent of a budget day by day, or left of it (the burn-down), and the cone of where it leads. */
function Outlook({of, left}) {
	const ahead = of.forecast?.days ?? [],
		today = of.days.length - 1;
	const days = [...of.days, ...ahead.slice(1)].map(one => one.day);
	const line = (label, at) => ({label, values: days.map((_, i) => at(i) && (left ? of.limit - at(i) : Number(at(i))))});
	const levels = of.warn.map(level => percent(level)).join(", ");
	const told = of.fired.map(one => `${percent(one.level)} on ${one.at.slice(0, 10)}`).join(", ");
	const note = `${usd(of.spent)} of ${usd(of.limit)} spent${
		of.forecast
			? `, ${usd(of.forecast.p50)} to ${usd(of.forecast.p90)} by the end.`
			: ". A forecast needs three whole days."
	}${levels && ` Warns at ${levels}.`}${told && ` Warned at ${told}.`}`;
	return html`<${Card}>
		<${Pick} of="show" label="Show what is" options=${["spent", "left"]} />
		<${Series} title=${of.title} note=${note} unit=${dollars} height=${240} t=${days.map(day => Date.parse(day) / 1000)}
			label=${dayOf}
			lines=${[
				line(left ? "left" : "spent", i => of.days[i]?.spent ?? null),
				line("limit", () => of.limit),
				line("forecast p50", i => ahead[i - today]?.p50 ?? null),
				line("forecast p90", i => ahead[i - today]?.p90 ?? null)
			]} />
	<//>`;
}
