// Plans before they run: what a task would cost, how, and what would change that; and runs that wait for a yes.
import { html, useEffect, useRef, useState } from "../vendor/vendor.js";
import { send } from "../api.js";
import { go, may, setQuery, useData, useEvents } from "../store.js";
import { Act, Choice, Dialog, Failure, Link, Loaded, duration, usd } from "../parts/basics.js";
import { Questions } from "../parts/actions.js";
import { Plans, Verdict, WhatIf, figures } from "../parts/candidates.js";
import { Graph, toggled } from "../parts/graph.js";
import { Table } from "../parts/table.js";

export default function Page({ query }) {
  if (query.get("approve")) return html`<${Approve} id=${query.get("approve")} query=${query} />`;
  return html`<h1>Plan</h1>${may() ? html`<${Planner} query=${query} />` : html`<p>Planning needs the role of an operator. Plans that ran are with <${Link} to="runs">their runs<//>.</p>`}`;
}

const Field = ({ label, note, ...rest }) => html`<label class="field">${label} <input ...${rest} />${note && html`<small>${note}</small>`}</label>`;

function Planner({ query }) {
  const [inputs, setInputs] = useState([]), [state, setState] = useState({}); // {busy, error, found, body}
  const stop = useRef(null);
  useEffect(() => () => stop.current?.abort(), []);
  const task = query.get("task") ?? "", alpha = Number(query.get("alpha") ?? 0.8), set = (key) => ({ target }) => setQuery({ [key]: target.value });
  const plan = async (changed) => {
    stop.current?.abort();
    stop.current = new AbortController();
    setState({ ...state, busy: true, error: null });
    try {
      const given = Object.fromEntries(inputs.map(({ name, kind, value }) => [name, kind === "file" ? value : { [kind]: kind === "json" ? JSON.parse(value) : value }]));
      const limits = { alpha, budget: query.get("budget") || null, deadline_s: Number(query.get("deadline")) || null };
      const body = { ...(/\n\s*out\s+[a-z_]/.test(task) ? { plan: task } : { task }), inputs: given, ...limits, ...changed };
      const found = await send("POST", "plans:preview", body, undefined, stop.current.signal);
      setQuery({ c: null, open: null, step: null });
      setState({ found, body: { ...body, task: found.task } });
    } catch (error) {
      setState(error.name === "AbortError" ? {} : { error });
    }
  };
  const change = (i, patch) => setInputs((old) => old.map((one, k) => (k === i ? { ...one, ...patch } : one)));
  const read = (i, [file]) => {
    const reader = new FileReader();
    reader.onload = () => change(i, { value: { base64: reader.result.split(",")[1] ?? "", mime: file.type || undefined } });
    if (file) reader.readAsDataURL(file);
  };
  return html`<div class="plan"><form class="card" onSubmit=${(event) => (event.preventDefault(), plan())}>
    <label class="field">Task, or the text of a plan <textarea rows="4" required value=${task} onInput=${set("task")} placeholder="read this page and tell me its language"></textarea></label>
    ${inputs.map(({ name, kind, value }, i) => html`<fieldset><legend>Input ${name}</legend><div class="row"><${Field} label="name" value=${name} size="10" pattern="[A-Za-z_][A-Za-z0-9_]*" required onInput=${({ target }) => change(i, { name: target.value })} />
      <${Choice} label="kind" value=${kind} options=${["text", "json", "file"]} pick=${(kind) => change(i, { kind, value: "" })} /><button type="button" class="quiet" title="Remove" onClick=${() => setInputs(inputs.filter((_, k) => k !== i))}>✕<span class="sr"> Remove ${name}</span></button></div>
      ${kind === "file" ? html`<${Field} label="file" type="file" required onChange=${({ target }) => read(i, target.files)} />` : html`<textarea rows="2" aria-label="${kind} of ${name}" value=${value} onInput=${({ target }) => change(i, { value: target.value })}></textarea>`}</fieldset>`)}
    <p><button type="button" onClick=${() => setInputs([...inputs, { name: `input${inputs.length + 1}`, kind: "text", value: "" }])}>Add input</button></p>
    <${Field} label="Quality against price: alpha ${alpha}" type="range" min="0" max="1" step="0.05" value=${alpha} onInput=${set("alpha")} note="0 is as cheap as possible, 1 as good as possible." />
    <div class="row"><${Field} label="Budget, $" inputmode="decimal" size="8" value=${query.get("budget")} onInput=${set("budget")} /><${Field} label="Deadline, s" inputmode="decimal" size="6" value=${query.get("deadline")} onInput=${set("deadline")} /></div>
    <div class="row" role="status"><button class="first" disabled=${state.busy}>Plan</button>${state.busy && html`Planning … <button type="button" onClick=${() => stop.current.abort()}>Stop</button>`}</div></form>
    <div>${state.error && html`<${Failure} error=${state.error} />`}${state.found ? html`<${Found} key=${state.found.preview} ...${{ ...state, query, plan }} />` : !state.error && html`<p class="empty">Plans for the task will be here, with what they would cost. Planning calls no tool.</p>`}</div></div>`;
}

function Found({ found, body, query, plan }) {
  const [asking, setAsking] = useState(false), [source, setSource] = useState(null), [what, setWhat] = useState(null), [others, setOthers] = useState({ loading: true });
  const { candidates, preview, planning, previous } = found, chosen = candidates[(query.get("c") ?? 1) - 1] ?? candidates[0];
  const at = `previews/${preview}/${chosen.rank}`, drawn = useData(at), basis = { plan: chosen.source, preview }, take = (text) => plan({ plan: text, task: body.task });
  useEffect(() => {
    setSource(null);
    send("POST", "plans:alternatives", basis).then((data) => setOthers({ data }), (error) => setOthers({ error }));
  }, [chosen]);
  const outputs = (drawn.data?.nodes ?? []).filter((one) => one.kind === "output" && one.optional).map((one) => one.id.slice(4));
  return html`<section class="card"><div class="row apart"><h2>Candidates</h2><button type="button" class="first" disabled=${!chosen.verdict.fits} onClick=${() => setAsking(true)}>Run plan ${chosen.rank} …</button></div>
      <${Plans} rows=${candidates} rowClass=${(row) => (row.rank === chosen.rank ? "on" : "")} more=${[{ key: "verdict", title: "verdict", sort: (row) => row.verdict.fit, cell: (row) => html`<${Verdict} of=${row.verdict} />` },
        { key: "shown", title: "shown", sort: false, cell: (row) => html`<button type="button" aria-pressed=${row.rank === chosen.rank} onClick=${() => setQuery({ c: row.rank })}>Show<span class="sr"> plan ${row.rank}</span></button>` }]} />
      <p class="muted">${planning ? `${planning.planner} took ${duration(planning.ms)} and cost ${usd(planning.cost)}, which the first run pays.` : "This plan was given."} ${found.notes.join(". ")}</p></section>
    <section class="card"><h2>Plan ${chosen.rank}</h2><p><${Verdict} of=${chosen.verdict} why /></p><${Drawn} ...${{ at, query, drawn, what }} steps=${chosen.nodes} /></section>
    <section class="card"><h2>What if …</h2><${Loaded} of=${others} what="alternatives">${(tools) => html`<${WhatIf} key=${at} ...${{ basis, outputs }} others=${tools} seen=${setWhat}>${(answer) => html`<button type="button" onClick=${() => take(answer.source)}>Take this plan</button>`}<//>`}<//></section>
    <${Before} ...${previous} diff=${chosen.diff} />
    <details class="card"><summary>Text of the plan</summary><textarea rows="12" class="mono" aria-label="text of the plan" spellcheck="false" value=${source ?? chosen.source} onInput=${({ target }) => setSource(target.value)}></textarea>
      <button type="button" disabled=${source === null} onClick=${() => take(source)}>Price this text</button></details>
    ${asking && html`<${Start} ...${{ chosen, found, body }} close=${() => setAsking(false)} />`}`;
}

function Start({ chosen: { rank, est, est_ms, source }, found, body, close }) {
  const [cap, setCap] = useState(body.budget ?? est.p95 ?? ""), key = useRef(crypto.randomUUID?.());
  const run = async () => go(`runs/${(await send("POST", "runs", { ...body, plan: source, preview: found.preview, cap: cap || null }, key.current + cap)).run}`);
  return html`<${Dialog} title="Run plan ${rank}" close=${close}><p>Expected to cost <strong>${usd(est.p50)}</strong>, p95 ${usd(est.p95)}, and to take ${duration(est_ms.p50)}.${found.asks && " It will wait for approval."}</p>
    <form onSubmit=${(event) => event.preventDefault()}><${Field} label="Spend at most, $" inputmode="decimal" value=${cap} onInput=${({ target }) => setCap(target.value)} note="No call is made that could take the run over it. Empty: no cap." /><${Act} class="first" run=${run}>Run for up to ${cap ? usd(cap) : "any amount"}<//></form><//>`;
}

/** A plan as a graph and as a table. `at` is its path in the API, `what` an estimate of a change to it. */
function Drawn({ at, query, drawn, steps, what }) {
  const open = query.get("open") ?? "", step = query.get("step"), layout = useData(`${at}/layout`, { open });
  const labels = Object.fromEntries((what?.steps ?? []).filter((one) => one.change !== "same").map((one) => [one.id, { text: `→ ${one.tool.after ?? "dropped"}`, kind: "warn" }]));
  const columns = [{ key: "id", title: "step" }, { key: "tool", title: "tool" }, ...figures((row) => row.est.cost, (row) => row.est.ms), { key: "slack_ms", title: "slack", num: true, cell: (row) => (row.critical ? "critical" : duration(row.slack_ms)) }];
  return html`<${Loaded} of=${drawn} what="the plan">${(plan) => html`<${Loaded} of=${layout} what="the graph">${(data) => html`<${Graph} layout=${data} nodes=${Object.fromEntries(steps.map((one) => [one.id, one]))} selected=${step} select=${(id) => setQuery({ step: id })} toggle=${(id) => setQuery({ open: toggled(open, id) })} ...${{ plan, labels }} />`}<//>`}<//>
    <${Table} caption="Steps of the plan" columns=${columns} rows=${steps} rowClass=${(row) => (row.id === step ? "on" : "")} />`;
}

const Before = ({ run, diff }) => diff && html`<section class="card"><h2>Against the last plan for this task</h2><p><${Link} to="runs/${run}">The last run<//> had ${diff.same ? "this plan." : "another:"}</p>
  <ul>${["added", "removed", "changed"].flatMap((kind) => diff[kind].map((one) => html`<li>${kind}: <code>${one.before && `${one.before} → `}${one.text}</code></li>`))}</ul></section>`;

/** A run that waits for a yes, to its whole plan or to steps. */
function Approve({ id, query }) {
  const found = useData(`runs/${id}`), before = useData(`runs/${id}/previous`), quote = useData(`runs/${id}/quote`), { data: run, reload } = found;
  const at = `plans/${run?.plan_hash}`, drawn = useData(run && at);
  useEvents(run && `run:${run.id}`, { event: ({ type }) => /approval|^run/.test(type) && reload(), resync: reload });
  return html`<${Loaded} of=${found} what="the run">${() => html`<h1>Approve: <bdi dir="auto">${run.task}</bdi></h1>
    <p><${Link} to="runs/${run.id}">This run<//> is expected to cost ${usd(run.cost.est)}, p95 ${usd(run.cost.est_p95)}${run.est_latency_ms > 0 && `, and to take ${duration(run.est_latency_ms)}`}. It has spent ${usd(run.cost.amount)}${run.budget && ` of ${usd(run.budget)}`}.</p>
    <div role="status">${!run.approvals.length && "Nothing waits for an answer now."}</div><${Questions} state=${{ run: { value: run }, reload }} />
    <section class="card"><h2>Plan</h2><${Loaded} of=${quote} what="the estimates">${({ nodes, verdict }) => html`<p><${Verdict} of=${verdict} why /></p><${Drawn} ...${{ at, query, drawn }} steps=${nodes} />`}<//></section><${Before} ...${before.data} />`}<//>`;
}
