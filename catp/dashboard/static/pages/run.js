// One run: what it does, what it spends against the forecast, where the time goes; live while it goes on.
import { html, useEffect, useMemo, useRef, useState } from "../vendor/vendor.js";
import { setQuery, useData } from "../store.js";
import { Choice, Failure, Figure, Link, Loading, Status, When, duration, number, usd } from "../parts/basics.js";
import { Actions, Questions } from "../parts/actions.js";
import { columns, signed } from "../parts/columns.js";
import { Detail } from "../parts/detail.js";
import { EventLog } from "../parts/eventlog.js";
import { Gantt, axisOf } from "../parts/gantt.js";
import { Graph, toggled } from "../parts/graph.js";
import { OVER, followRun } from "../parts/runstate.js";
import { SpendCurve } from "../parts/spendcurve.js";
import { Table } from "../parts/table.js";

export default ({ parts, query }) => html`<${Run} key=${parts[1]} id=${parts[1]} query=${query} />`;

function Run({ id, query }) {
  const state = useMemo(() => followRun(id), []), tries = query.get("tries") ?? "all", selected = query.get("step");
  useEffect(() => state.close, []);
  const axis = useMemo(() => axisOf(state, tries), [tries]), opener = useRef(null), run = state.run.value;
  if (!run) return state.error.value ? html`<h1>Run</h1><${Failure} error=${state.error.value} retry=${state.reload} />` : html`<${Loading} what="the run" />`;
  const open = (step) => {
    opener.current = document.activeElement;
    setQuery({ step, attempt: null });
  };
  const close = () => {
    setQuery({ step: null, attempt: null, tab: null });
    (opener.current?.isConnected ? opener.current : document.querySelector(`tr[data-step="${CSS.escape(selected)}"]`))?.focus();
  };
  const escape = (event) => event.key === "Escape" && selected && !document.querySelector("dialog, :popover-open") && close();
  return html`<div class="run" onKeyDown=${escape}>
    <div class="row apart"><h1><bdi dir="auto">${run.task || "Run"}</bdi></h1><${Actions} state=${state} /></div>
    <p class="muted">run <code>${run.id}</code> · started <${When} at=${run.created} /> · ${run.policy} · project ${run.project}${run.agent && ` · agent ${run.agent}`}
      ${run.parent && html` · from <${Link} to="runs/${run.parent}">another run<//>${run.fork_step && `, anew from ${run.fork_step}`}`}</p>
    ${run.status === "interrupted" && html`<p class="failure">No process drives this run any more; steps that were at work are lost. Go on with <code>catp runs resume ${run.id}</code>, or replay it.</p>`}
    <${Questions} state=${state} /><${Head} state=${state} /><${Plan} ...${{ state, query, selected, open }} />
    <div class="run-steps ${selected ? "with-detail" : ""}"><section class="card"><${Gantt} ...${{ state, axis, query, open }} /><${SpendCurve} ...${{ state, axis }} /></section>
      ${state.nodes.value[selected] && html`<${Detail} key=${selected} ...${{ state, query, close }} id=${selected} />`}</div>
    <${Why} run=${run} selected=${selected} /><${EventLog} ...${{ state, query }} /></div>`;
}

const warning = (text) => html` <span class="chip warn"><span aria-hidden="true">▲ </span>${text}</span>`;

function Head({ state }) {
  const run = state.run.value, nodes = Object.values(state.nodes.value).filter((node) => node.in_plan), { cost, budget, deadline_ms } = run;
  const { p50, p90, at_least, unpriced_nodes } = run.forecast, quality = run.quality ?? run.predicted_quality, took = run.latency_ms ?? state.now.value;
  const late = deadline_ms !== null && Math.max(took, run.ends_ms) > deadline_ms;
  return html`<section class="card" aria-label="Figures"><dl class="figures">
    <${Figure} label="Status"><${Status} status=${run.status} /> <small>${nodes.filter((node) => OVER.has(node.status)).length}/${nodes.length} steps</small><//>
    <${Figure} label="Spent" how=${`The sum of the ${run.ledger.rows} rows of the ledger: those of all steps, and ${usd(run.planning.cost)} for planning. The cache saved ${usd(cost.saved)} more.`}>${usd(cost.amount)}${budget !== null && html` <small>of ${usd(budget)}</small> <meter aria-label="spent of the budget" max=${budget} high=${0.9 * budget} value=${cost.amount}></meter>`}
      ${cost.unpriced > 0 && warning(`${cost.unpriced} unpriced`)}<//>
    ${run.ended ? html`<${Figure} label="Estimated" how="What the plan was quoted at before it ran, and how far the run was off.">${cost.est === null ? "–" : html`${usd(cost.est)} <small>p95 ${usd(cost.est_p95)}${cost.est > 0 && `, ${signed(cost.amount / cost.est - 1)}`}</small>`}<//>`
      : html`<${Figure} label="Forecast" how="Spent, and what each unfinished step is still expected to cost: its own estimate when it was called, before that what its tool used to cost, at least the quote of the plan if nothing is known. p90 adds the high estimates, so it is an upper bound.">${p50 === null ? html`at least ${usd(at_least)} <span class="chip warn" title=${unpriced_nodes.join(", ")}>unpriced</span>` : html`${usd(p50)} <small>p90 ${usd(p90)}</small>`}${budget !== null && Number(p90 ?? at_least) > Number(budget) && warning(`over ${usd(budget)}`)}<//>`}
    ${budget !== null && html`<${Figure} label="Budget left" how="Budget less what was spent. Money held for calls that run now is not taken off.">${usd((budget - cost.amount).toFixed(9))}${Number(cost.amount) > Number(budget) && warning("over budget")}<//>`}
    <${Figure} label="Critical path" how="The longest chain of steps that wait for each other: what has ended counts with the time it took, the rest with its estimate.">${duration(run.critical_ms)}${run.est_latency_ms > 0 && html` <small>planned ${duration(run.est_latency_ms)}</small>`}<//>
    <${Figure} label="Time" how="From the start of the run to its end, with all waiting.">${duration(took)} <small>${run.ends_ms !== null && `of about ${duration(Math.max(took, run.ends_ms))} `}${deadline_ms !== null && `deadline ${duration(deadline_ms)}`}</small>${late && warning("late")}<//>
    <${Figure} label="Quality" how=${run.quality == null ? "Predicted by the planner when the run was planned, 0 to 1. Nobody has measured it." : "Measured: the score that was given to this run, 0 to 1."}>${number(quality, 2)}${quality != null && html` <small>${run.quality == null ? "predicted" : "measured"}</small>`}<//></dl></section>`;
}

function Plan({ state, query, selected, open }) {
  const run = state.run.value, view = query.get("view") ?? "graph", dir = query.get("dir") ?? "LR", hash = query.get("plan") ?? run.plan_hash;
  const critical = query.get("critical") === "1", colour = query.get("colour") ?? "status", groups = query.get("open") ?? "", graph = view === "graph";
  const plan = useData(`plans/${hash}`), layout = useData(graph ? `plans/${hash}/layout` : null, { dir, open: groups }), error = plan.error ?? layout.error;
  const choice = (key, label, value, usual, options) => html`<${Choice} label=${label} value=${value} options=${options} pick=${(one) => setQuery({ [key]: one === usual ? null : one })} />`;
  const own = run.plans.findIndex((one) => one.hash === hash), plans = run.plans.map((one, i) => [one.hash, i ? `repair ${i}` : "the first"]);
  return html`<section class="card" aria-labelledby="plan"><div class="row apart"><h2 id="plan">Plan</h2><div class="row">
      ${(plans.length > 1 || own < 0) && choice("plan", "plan", hash, run.plan_hash, own < 0 ? [...plans, [hash, "considered, not run"]] : plans)}${choice("view", "show", view, "graph", ["graph", "source", "table"])}
      ${graph && html`${choice("colour", "colour by", colour, "status", ["status", "cost", "latency", "slack", "quality"])}${choice("dir", "direction", dir, "LR", [["LR", "left to right"], ["TB", "top to bottom"]])}
        <label><input type="checkbox" checked=${critical} onChange=${() => setQuery({ critical: critical ? null : 1 })} /> critical only</label>`}</div></div>
    ${error ? html`<${Failure} error=${error} retry=${() => (plan.reload(), layout.reload())} />`
      : !plan.data || (graph && !layout.data) ? html`<${Loading} what="the plan" />`
      : view === "source" ? html`<pre class="scroll" tabindex="0"><code>${plan.data.source}</code></pre>`
      : view === "table" ? html`<${PlanTable} ...${{ state, plan: plan.data, open }} />`
      : html`<${Graph} layout=${layout.data} plan=${plan.data} nodes=${own < 0 ? null : state.nodes.value} select=${(id) => state.nodes.peek()[id] && open(id)} toggle=${(id) => setQuery({ open: toggled(groups, id) })} ...${{ selected, colour, critical }} />`}</section>`;
}

function PlanTable({ state, plan, open }) {
  const nodes = state.nodes.value, known = columns("id:step|tool:tool|after:after|lines:call|slack_ms:slack:ms", { lines: (lines) => html`<code>${lines.join("\n")}</code>`, after: (ids) => ids.join(", ") || "–" });
  const rows = plan.nodes.filter((one) => one.kind === "step").map((one) => ({ ...one, tool: one.tools?.join(", "), slack_ms: null, ...nodes[one.id], after: plan.edges.filter((edge) => edge.to === one.id).map((edge) => edge.from) }));
  return html`<${Table} caption="Steps of the plan" columns=${known} rows=${rows} open=${(row) => nodes[row.id] && open(row.id)} />`;
}

/** What else could have been planned. */
function Why({ run, selected }) {
  const [Part, setPart] = useState(null);
  useEffect(() => void import("../parts/candidates.js").then((found) => setPart(() => found.Candidates), () => {}), []);
  return Part && html`<section class="card" aria-labelledby="why"><h2 id="why">Why this plan</h2><${Part} run=${run} selected=${selected} /></section>`;
}
