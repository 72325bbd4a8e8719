// One run: what it does, what it spends against the forecast, where the time goes; live while it goes on.
import {html, useEffect, useMemo, useRef} from "../vendor/vendor.js";
import {meta, setQuery, useData} from "../store.js";
import {Card, Failure, Figure, Link, Loading, Status, When, duration, number, usd} from "../parts/basics.js";
import {Actions, Questions} from "../parts/actions.js";
import {Pick, Tick, shown} from "../parts/bound.js";
import {Candidates} from "../parts/candidates.js";
import {columns, signed} from "../parts/columns.js";
import {Detail} from "../parts/detail.js";
import {EventLog} from "../parts/eventlog.js";
import {Gantt, axisOf} from "../parts/gantt.js";
import {Graph, toggled} from "../parts/graph.js";
import {followRun} from "../parts/runstate.js";
import {SpendCurve} from "../parts/spendcurve.js";
import {Table} from "../parts/table.js";

export default ({parts}) => html`<${Run} key=${parts[1]} id=${parts[1]} />`;

function Run({id}) {
	const state = useMemo(() => followRun(id), []),
		tries = shown("tries", "all"),
		selected = shown("step", null),
		opener = useRef(null),
		run = state.run.value;
	useEffect(() => state.close, []);
	const axis = useMemo(() => axisOf(state, tries), [tries]);
	if (!run)
		return state.error.value
			? html`<h1>Run</h1><${Failure} error=${state.error.value} retry=${state.reload} />
				<${Link} to="runs">All runs<//>`
			: html`<${Loading} what="the run" />`;
	const open = step => {
		opener.current = document.activeElement;
		setQuery({step, attempt: null});
	};
	const close = () => {
		setQuery({step: null, attempt: null, tab: null});
		(opener.current?.isConnected
			? opener.current
			: document.querySelector(`tr[data-step="${CSS.escape(selected)}"]`)
		)?.focus();
	};
	const escape = event =>
		event.key === "Escape" && selected && !document.querySelector("dialog, :popover-open") && close();
	return html`<div class="run" onKeyDown=${escape}>
		<div class="row apart"><h1><bdi dir="auto">${run.task || "Run"}</bdi></h1><${Actions} state=${state} /></div>
		<p class="muted">
			run <code>${run.id}</code> · started <${When} at=${run.created} /> · ${run.policy} · project ${run.project}
			${run.agent && ` · agent ${run.agent}`}
			${run.parent && html` · from <${Link} to="runs/${run.parent}">another run<//>
				${run.fork_step && `, anew from ${run.fork_step}`}
			`}
		</p>
		${run.status === "interrupted" && html`<p class="failure">
			No process drives this run any more; steps at work are lost. An operator can resume it, or replay it.
		</p>`}
		<${Questions} state=${state} />
		<${Head} state=${state} />
		<${Plan} ...${{state, selected, open}} />
		<div class="run-steps ${selected && "with-detail"}">
			<${Card}><${Gantt} ...${{state, axis, open}} /><${SpendCurve} ...${{state, axis}} /><//>
			${selected && html`<${Detail} key=${selected} ...${{state, close}} id=${selected} />`}
		</div>
		<section class="card" aria-labelledby="why">
			<h2 id="why">Why this plan</h2>
			<${Candidates} run=${run} selected=${state.nodes.peek()[selected] && selected} />
		</section>
		<${EventLog} state=${state} />
	</div>`;
}

const spent = ({ledger, planning, cost}) =>
	`Sum of its ${ledger.rows} ledger rows: all steps, and ${usd(planning.cost)} for planning. ` +
	`The cache saved ${usd(cost.saved)}.`;
const warning = text => html` <span class="chip warn"><span aria-hidden="true">▲ </span>${text}</span>`;

function Head({state}) {
	const run = state.run.value,
		{
			cost,
			budget,
			deadline_ms,
			ends_ms,
			est_latency_ms,
			progress,
			forecast: {p50, p90, at_least, unpriced_nodes}
		} = run;
	const took = run.latency_ms ?? state.now.value,
		quality = run.quality ?? run.predicted_quality,
		ends = ends_ms === null ? null : Math.max(took, ends_ms);
	const figure = (label, value, more, warn) => html`<${Figure} label=${label}
		how=${label === "Spent" ? spent(run) : meta.value.how[label]}>
		${value}${more && html` <small>${more}</small>`}${warn}
	<//>`;
	return html`<${Card} aria-label="Figures">
		<dl class="figures">
			${figure("Status", html`<${Status} status=${run.status} />`, `${progress.done}/${progress.total} steps`)}
			${figure(
				"Spent",
				usd(cost.amount),
				budget !== null &&
					html`of ${usd(budget)} <meter aria-label="spent of the budget" max=${budget} high=${0.9 * budget}
						value=${cost.amount}></meter>`,
				cost.unpriced > 0 && warning(`${cost.unpriced} unpriced`)
			)}
			${run.ended
				? figure(
						"Estimated",
						cost.est === null ? "–" : usd(cost.est),
						cost.est > 0 && `p95 ${usd(cost.est_p95)}, ${signed(cost.amount / cost.est - 1)}`
					)
				: figure(
						"Forecast",
						p50 === null ? `at least ${usd(at_least)}` : usd(p50),
						p50 === null
							? html`<span class="chip warn" title=${unpriced_nodes.join(", ")}>unpriced</span>`
							: `p90 ${usd(p90)}`,
						budget !== null && Number(p90 ?? at_least) > Number(budget) && warning(`over ${usd(budget)}`)
					)}
			${budget !== null &&
				figure(
					"Budget left",
					usd((budget - cost.amount).toFixed(9)),
					"",
					Number(cost.amount) > Number(budget) && warning("over budget")
				)}
			${figure("Critical path", duration(run.critical_ms), est_latency_ms > 0 && `planned ${duration(est_latency_ms)}`)}
			${figure(
				"Time",
				duration(took),
				html`${ends && `of about ${duration(ends)} `}${deadline_ms && `deadline ${duration(deadline_ms)}`}`,
				deadline_ms && (ends ?? took) > deadline_ms && warning("late")
			)}
			${figure("Quality", number(quality, 2), quality !== null && (run.quality === null ? "predicted" : "measured"))}
		</dl>
	<//>`;
}

function Plan({state, selected, open}) {
	const {plan_hash, plans} = state.run.value,
		view = shown("view", "graph"),
		hash = shown("plan", plan_hash),
		groups = shown("open"),
		graph = view === "graph";
	const plan = useData(`plans/${hash}`),
		layout = useData(graph ? `plans/${hash}/layout` : null, {dir: shown("dir", "LR"), open: groups}),
		error = plan.error ?? layout.error;
	const known = plans.map((one, i) => [one.hash, i ? `repair ${i}` : "the first"]),
		own = plans.some(one => one.hash === hash);
	return html`<section class="card" aria-labelledby="plan">
		<div class="row apart">
			<h2 id="plan">Plan</h2>
			<div class="row">
				${(plans[1] || !own) && html`<${Pick} of="plan" label="plan" usual=${plan_hash}
					options=${own ? known : [...known, [hash, "considered, not run"]]} />`}
				<${Pick} of="view" label="show" options=${["graph", "source", "table"]} />
				${graph && html`
					<${Pick} of="colour" label="colour by" options=${["status", "cost", "latency", "slack"]} />
					<${Pick} of="dir" label="direction" options=${[["LR", "left to right"], ["TB", "top to bottom"]]} />
					<${Tick} of="critical">critical only<//>
				`}
			</div>
		</div>
		${error
			? html`<${Failure} error=${error} retry=${() => (plan.reload(), layout.reload())} />`
			: !plan.data || (graph && !layout.data)
				? html`<${Loading} what="the plan" />`
				: view === "source"
					? html`<pre class="scroll" tabindex="0"><code>${plan.data.source}</code></pre>`
					: view === "table"
						? html`<${PlanTable} ...${{state, open}} plan=${plan.data} />`
						: html`<${Graph} layout=${layout.data} plan=${plan.data} nodes=${own ? state.nodes.value : null}
								select=${id => state.nodes.peek()[id] && open(id)} toggle=${id => setQuery({open: toggled(groups, id)})}
								selected=${selected} colour=${shown("colour", "status")} critical=${!!shown("critical")} />`}
	</section>`;
}

function PlanTable({state, plan, open}) {
	const nodes = state.nodes.value,
		known = columns("id:step|tool:tool|after:after|lines:call|slack_ms:slack:ms");
	const rows = plan.nodes
		.filter(one => one.kind === "step")
		.map(one => ({
			...one,
			...nodes[one.id],
			after: plan.edges
				.filter(edge => edge.to === one.id)
				.map(edge => edge.from)
				.join(", "),
			lines: one.lines.join("; ")
		}));
	return html`<${Table} caption="Steps of the plan" columns=${known} rows=${rows}
		open=${({id}) => nodes[id] && open(id)} />`;
}
