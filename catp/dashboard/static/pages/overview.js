// The answer in thirty seconds: what was spent, what went well, what went wrong, what waits for me.
import {html} from "../vendor/vendor.js";
import {may, useData, useEvents, useSoon} from "../store.js";
import {
	Card, Command, Figure, Link, Loaded, Status, When, duration, number, percent, usd
} from "../parts/basics.js";
import {Pick, shown} from "../parts/bound.js";
import {columns, dollars, maybe, toolLink} from "../parts/columns.js";
import {Demo} from "../parts/demo.js";
import {Plot} from "../parts/plot.js";
import {Table, Twin} from "../parts/table.js";

export default function Overview() {
	const span = shown("window", "24h");
	const found = useData("overview", {window: span}),
		soon = useSoon(found.reload);
	useEvents("runs", {event: soon, resync: soon}, [span]);
	return html`<${Loaded} of=${found} what="the overview">${seen =>
		seen.empty ? html`<${Guide} steps=${seen.guide} />` : html`<${Seen} seen=${seen} />`}<//>`;
}

const grade = value => number(value, 2);

function Seen({seen}) {
	const {spend, compared: c, deadlines: due, runs, from, failures, budgets, needs_you: needs} = seen,
		{month} = spend;
	// up: 1 more is better, -1 less is, 0 neither
	const figure = (label, key, {now, before}, show, up, small) => {
		const by = now === null || before === null ? 0 : now - before,
			good = Math.sign(by * up);
		return html`<${Figure} label=${label} how=${seen.how[key]}>
			${show(now)} ${by !== 0 && html`<small class=${["bad", "muted", "good"][good + 1]}>
				${by > 0 ? "▲" : "▼"}
				<span class="sr">${["worse", "changed", "better"][good + 1]},</span> from ${show(before)}
			</small>`}
			<br />
			<small class="muted">${small}</small>
		<//>`;
	};
	return html`
		<div class="row apart">
			<h1>Overview</h1>
			<${Pick} of="window" label="Period" options=${[["24h", "24 hours"], ["7d", "7 days"], ["30d", "30 days"]]} />
		</div>
		${needs.length > 0 && html`<${Card} title="⚑ Needs you" aria-label="Needs you">
			<ul class="plain">${needs.map(
				one => html`<li>
					<${Link} to=${one.to}><bdi>${one.says}</bdi><//> ${one.more}
					${one.at && html`, since <${When} at=${one.at} />`}
				</li>`
			)}</ul>
		<//>`}
		<${Card} aria-label="Figures">
			<dl class="figures">
				${figure(
					"Spent",
					"spent",
					{now: spend.amount, before: spend.before},
					usd,
					0,
					html`${usd(spend.today)} today (UTC)${spend.unpriced > 0 && html` <span class="chip warn">
						+ ${spend.unpriced} unpriced
					</span>`}`
				)}
				${figure("This month", "month", {now: month.spent, before: null}, usd, 0, month.says)}
				${figure("Success rate", "success", c.success, percent, 1, `of ${number(c.success.n)} that ended`)}
				${figure(
					"Quality",
					"quality",
					c.quality,
					grade,
					1,
					`${number(c.quality.n)} scored; predicted ${grade(c.predicted_quality.now)}`
				)}
				${figure("Cost of a run", "mean_cost", c.mean_cost, maybe, -1, "mean")}
				${figure("Time of a run", "p50_ms", c.p50_ms, duration, -1, `p50; p95 ${duration(c.p95_ms.now)}`)}
				${figure(
					"Deadlines met",
					"deadlines",
					{now: due.share, before: due.before},
					percent,
					1,
					`${due.met} of ${due.with}`
				)}
			</dl>
		<//>
		<div class="grid">
			<${Card} aria-label="Runs by state"
				title=${html`<${Link} to="runs" query=${{from}}>
					${number(Object.values(runs).reduce((a, b) => a + b, 0))} runs
				<//>`}>
				<ul class="plain">${Object.entries(runs).map(
					([status, n]) => html`<li class="row apart">
						<${Link} to="runs" query=${{status, from}}><${Status} status=${status} /><//>
						${number(n)}
					</li>`
				)}</ul>
			<//>
			<${Card} aria-label="Spending"><${Bars} days=${spend.days} /><//>
			${budgets.length > 0 && html`<${Card} aria-label="Budgets" title=${html`<${Link} to="spend">Budgets<//>`}>
				<ul class="plain">${budgets.map(
					({title, spent, limit, share, state}) => html`<li>
						<div class="row apart">
							<bdi>${title}</bdi>
							<span class=${state === "ok" ? "" : "warn"}>
								${state !== "ok" && "▲ "}${usd(spent)} of ${usd(limit)} · ${percent(share)}
							</span>
						</div>
						<div class="level" aria-hidden="true"><i style="width:${Math.min(100, share * 100)}%"></i></div>
					</li>`
				)}</ul>
			<//>`}
		</div>
		<${Card} title="What failed most" aria-label="Failures">${failures.length
			? html`<${Table} caption="Most frequent failures" columns=${CAUSES} rows=${failures} />`
			: html`<p class="good">✓ Nothing failed in this period.</p>`}<//>
	`;
}

const CAUSES = columns("type:cause|tool:tool|count:times:n|runs:runs:n|reason:for example", {
	tool: tool => (tool ? toolLink(tool) : "–"),
	reason: (text, {sample_run: run}) => html`<${Link} to="runs/${run}"><bdi>${text ?? run}</bdi><//>`
});
function Bars({days}) {
	const n = days.length;
	return html`<${Twin} title="Spent by day, ${n} days" columns=${columns("id:day (UTC)|amount:spent:$")}
		rows=${days.map(one => ({id: one.day, ...one}))}>
		<${Plot} says="Spent on each of ${n} days" most=${Math.max(...days.map(one => one.amount), 1e-6)} unit=${dollars}
			height=${170} names=${days.map(({day}, i) => [(i + 0.5) / n, day.slice(5)])}>
			${({x, y, width}) =>
				days.map(
					({day, amount}, i) => html`<rect class="day" x=${x((i + 0.15) / n)} width=${(0.7 * width) / n} y=${y(amount)}
						height=${y(0) - y(amount)}>
						<title>${day}: ${usd(amount)}</title>
					</rect>`
				)}
		<//>
	<//>`;
}

/** A store without runs. */
const Guide = ({steps}) => html`
	<h1>Welcome</h1>
	<p>There are no runs in this store yet; they appear here by themselves.</p>
	<ol class="guide">${steps.map(
		({title, text}) => html`<li class="card"><h2>${title}</h2><${Command} text=${text} /></li>`
	)}</ol>
	${may("admin") && html`<${Card} title="Or look around first" aria-label="Demo">
		<p>Nothing is paid: its tools only play their prices.</p>
		<div class="row">
			<${Demo} />
		</div>
	<//>`}
`;
