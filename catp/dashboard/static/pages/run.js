// One run: what it does, what it spends against the forecast, where the time goes; live while it goes on.
import { html, useEffect, useMemo, useRef, useState } from "../vendor/vendor.js";
import { route, setQuery, useData } from "../store.js";
import { Choice, Failure, Figure, Link, Loading, Status, When, duration, number, usd } from "../parts/basics.js";
import { Actions, Questions } from "../parts/actions.js";
import { Detail } from "../parts/detail.js";
import { EventLog } from "../parts/eventlog.js";
import { Gantt, axisOf } from "../parts/gantt.js";
import { Graph, toggled } from "../parts/graph.js";
import { OVER, followRun } from "../parts/runstate.js";
import { SpendCurve } from "../parts/spendcurve.js";
import { Table } from "../parts/table.js";

export default function Page({ parts }) {
  return html`<${Run} key=${parts[1]} id=${parts[1]} query=${route.value.query} />`;
}

function Run({ id, query }) {
  const state = useMemo(() => followRun(id), [id]);
  useEffect(() => state.close, [state]);
  const tries = query.get("tries") ?? "all", selected = query.get("step");
  const axis = useMemo(() => axisOf(state, tries), [state, tries]);
  const opener = useRef(null);
  const run = state.run.value;
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
    <p class="muted">run <code>${run.id}</code> · started <${When} at=${run.created} /> · ${run.policy}${run.project && ` · project ${run.project}`}
      ${run.parent && html` · from <${Link} to="runs/${run.parent}">another run<//>${run.fork_step && `, anew from ${run.fork_step}`}`}</p>
    ${run.status === "interrupted" && html`<p class="failure">No process drives this run any more; steps that were at work are lost. Go on with <code>catp runs resume ${run.id}</code>, or replay it.</p>`}
    <${Questions} state=${state} /><${Head} state=${state} />
    <${Plan} ...${{ state, query, selected, open }} />
    <div class=${selected ? "run-steps with-detail" : "run-steps"}><div><section class="card"><${Gantt} ...${{ state, axis, query, open }} /><${SpendCurve} ...${{ state, axis }} /></section></div>
      ${selected && state.nodes.value[selected] && html`<${Detail} key=${selected} ...${{ state, query, close }} id=${selected} />`}</div>
    <${Why} run=${run} selected=${selected} /><${EventLog} ...${{ state, query }} /></div>`;
}

function Head({ state }) {
  const run = state.run.value, nodes = Object.values(state.nodes.value).filter((node) => node.in_plan);
  const { p50, p90, at_least, unpriced_nodes } = run.forecast;
  const done = nodes.filter((node) => OVER.has(node.status)).length;
  const over = run.budget !== null && Number(p90 ?? at_least) > Number(run.budget);
  const left = run.budget === null ? null : (run.budget - run.cost.amount).toFixed(9);
  const took = run.latency_ms ?? state.now.value, quality = run.quality ?? run.predicted_quality;
  return html`<section class="card" aria-label="Figures"><dl class="figures">
    <${Figure} label="Status"><${Status} status=${run.status} /> <small>${done}/${nodes.length} steps</small><//>
    <${Figure} label="Spent" how=${`The sum of the ${run.ledger.rows} rows of the ledger: those of all steps, and ${usd(run.planning.cost)} for planning. The cache saved ${usd(run.cost.saved)} more.`}>${usd(run.cost.amount)}${run.budget !== null && html` <small>of ${usd(run.budget)}</small> <meter aria-label="spent of the budget" min="0" max=${run.budget} high=${0.9 * run.budget} value=${run.cost.amount}></meter>`}
      ${run.cost.unpriced > 0 && html` <span class="chip warn">+ ${run.cost.unpriced} unpriced</span>`}<//>
    <${Figure} label="Forecast" how="Spent, and what each unfinished step is still expected to cost: its own estimate when it was called, before that what its tool used to cost. p90 adds the high estimates, so it is an upper bound.">${p50 === null ? html`at least ${usd(at_least)} <span class="chip warn" title=${unpriced_nodes.join(", ")}>unpriced</span>` : html`${usd(p50)} <small>p90 ${usd(p90)}</small>`}
      ${over && html` <span class="chip warn"><span aria-hidden="true">▲ </span>over ${usd(run.budget)}</span>`}<//>
    ${left !== null && html`<${Figure} label="Budget left" how="Budget less what was spent. Money held for calls that run now is not taken off.">${usd(left)}<//>`}
    <${Figure} label="Critical path" how="The longest chain of steps that wait for each other: what has ended counts with the time it took, the rest with its estimate.">${duration(run.critical_ms)}${run.est_latency_ms !== null && html` <small>planned ${duration(run.est_latency_ms)}</small>`}<//>
    <${Figure} label="Time" how="From the start of the run to its end, with all waiting.">${duration(took)}${run.deadline_ms !== null && html` <small class=${took > run.deadline_ms ? "warn" : ""}>of ${duration(run.deadline_ms)}${took > run.deadline_ms ? " ▲ late" : ""}</small>`}
      ${run.ends_ms !== null && html` <small>ends about ${duration(run.ends_ms)}</small>`}<//>
    <${Figure} label="Quality" how=${run.quality == null ? "Predicted by the planner when the run was planned, 0 to 1. Nobody has measured it." : "Measured: the score that was given to this run, 0 to 1."}>${number(quality, 2)}${quality != null && html` <small>${run.quality == null ? "predicted" : "measured"}</small>`}<//></dl></section>`;
}

function Plan({ state, query, selected, open }) {
  const run = state.run.value, view = query.get("view") ?? "graph", dir = query.get("dir") ?? "LR", hash = query.get("plan") ?? run.plan_hash;
  const critical = query.get("critical") === "1", colour = query.get("colour") ?? "status", groups = query.get("open") ?? "";
  const plan = useData(`plans/${hash}`), layout = useData(view === "graph" ? `plans/${hash}/layout` : null, { dir, open: groups });
  const set = (key, usual) => (value) => setQuery({ [key]: value === usual ? null : value });
  return html`<section class="card" aria-labelledby="plan"><div class="row apart"><h2 id="plan">Plan</h2><div class="row">
      <${Choice} label="show" value=${view} options=${["graph", "source", "table"]} pick=${set("view", "graph")} />
      ${view === "graph" && html`<${Choice} label="colour by" value=${colour} options=${["status", "cost", "latency", "slack", "quality"]} pick=${set("colour", "status")} />
        <${Choice} label="direction" value=${dir} options=${[["LR", "left to right"], ["TB", "top to bottom"]]} pick=${set("dir", "LR")} />
        <label><input type="checkbox" checked=${critical} onChange=${() => setQuery({ critical: critical ? null : 1 })} /> critical only</label>`}
      ${run.plans?.length > 1 && html`<${Choice} label="plan" value=${hash} options=${run.plans.map((one, i) => [one.hash, i ? `repair ${i}` : "first"])} pick=${set("plan", run.plan_hash)} />`}</div></div>
    ${plan.error && html`<${Failure} error=${plan.error} retry=${plan.reload} />`}${layout.error && html`<${Failure} error=${layout.error} retry=${layout.reload} />`}
    ${!plan.data || (view === "graph" && !layout.data) ? html`<${Loading} what="the plan" />`
      : view === "source" ? html`<pre class="scroll" tabindex="0"><code>${plan.data.source}</code></pre>`
      : view === "table" ? html`<${PlanTable} ...${{ state, plan: plan.data, open }} />`
      : html`<${Graph} layout=${layout.data} plan=${plan.data} nodes=${state.nodes.value} select=${(id) => state.nodes.peek()[id] && open(id)} toggle=${(id) => setQuery({ open: toggled(groups, id) })} ...${{ selected, colour, critical }} />`}</section>`;
}

function PlanTable({ state, plan, open }) {
  const nodes = state.nodes.value, rows = plan.nodes.filter((one) => one.kind === "step");
  const columns = [
    { key: "id", title: "step" }, { key: "tool", title: "tool", cell: (row) => nodes[row.id]?.tool },
    { key: "after", title: "after", cell: (row) => nodes[row.id]?.parents.join(", ") || "–" }, { key: "lines", title: "call", sort: false, cell: (row) => html`<code>${row.lines.join("\n")}</code>` },
    { key: "slack", title: "slack", num: true, sort: (row) => nodes[row.id]?.slack_ms, cell: (row) => duration(nodes[row.id]?.slack_ms) },
  ];
  return html`<${Table} caption="Steps of the plan" columns=${columns} rows=${rows} open=${(row) => nodes[row.id] && open(row.id)} />`;
}

/** What else could have been planned, once that part is there. */
function Why({ run, selected }) {
  const [Part, setPart] = useState(null);
  useEffect(() => void import("../parts/candidates.js").then((found) => setPart(() => found.Candidates), () => {}), []);
  return Part && html`<section class="card"><h2>Why this plan</h2><${Part} run=${run} selected=${selected} /></section>`;
}
