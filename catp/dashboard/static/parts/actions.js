// What an operator can do with a run: answer its questions, cancel it, replay it with other tools, score it; and take it away.
import { html, useState } from "../vendor/vendor.js";
import { get, send, url } from "../api.js";
import { go, may } from "../store.js";
import { Act, Copy, Dialog, Link, When, usd } from "./basics.js";

export function Actions({ state }) {
  const run = state.run.value;
  const [shown, setShown] = useState(null);
  const close = () => setShown(null);
  const Part = { cancel: Cancel, replay: Replay, score: Score }[shown];
  return html`<div class="row actions">${may() && html`
      ${["running", "waiting", "interrupted"].includes(run.status) && html`<button type="button" class="danger" onClick=${() => setShown("cancel")}>Cancel …</button>`}
      <button type="button" onClick=${() => setShown("replay")}>Replay …</button>${run.ended && html`<button type="button" onClick=${() => setShown("score")}>Score …</button>`}`}
    <${Link} to="compare" query=${{ ids: [run.id, run.parent].filter(Boolean).join(",") }}>Compare<//>
    <details class="menu"><summary>Export</summary><ul>${[["json", "JSON"], ["csv", "CSV of the ledger"], ["otlp", "OTLP traces"], ["html", "one HTML file"]].map(
      ([format, text]) => html`<li><a href=${url(`runs/${run.id}/export`, { format })} download>${text}</a></li>`)}</ul></details>
    <${Copy} label="Share" text=${location.href} />${Part && html`<${Part} ...${{ state, run, close }} />`}</div>`;
}

/** Open questions of the run, each with what it may cost and until when it can be answered. */
export function Questions({ state }) {
  const { approvals, id, status } = state.run.value;
  const [reason, setReason] = useState(""), [cap, setCap] = useState("");
  const answer = (verb, node, capped) => async () => {
    await send("POST", `runs/${id}/${verb}`, { node, reason, cap: capped });
    if (status === "waiting") await send("POST", `runs/${id}/resume`, { budget: capped }); // nobody drives it now
    state.reload();
  };
  return approvals.map((one) => html`<section class="card question" aria-label="Approval"><h2>${one.node === null ? "May the whole plan run?" : html`May step <bdi>${one.node}</bdi> run?`}</h2>
    <p>${one.cap === null ? "No cap on its price" : html`It may cost up to <strong>${usd(one.cap)}</strong>`}, asked <${When} at=${one.requested} />${one.expires && html`, until <${When} at=${one.expires} />`}.</p>
    <dl class="detail">${Object.entries(one.detail).map(([key, value]) => html`<div><dt>${key}</dt><dd dir="auto">${typeof value === "string" ? value : JSON.stringify(value)}</dd></div>`)}</dl>
    ${may() ? html`<div class="row"><input aria-label="reason" placeholder="reason (optional)" value=${reason} onInput=${(event) => setReason(event.target.value)} />
      <${Act} class="first" run=${answer("approve", one.node)}>Approve<//>
      ${one.node === null && html`<label>at most $ <input size="8" inputmode="decimal" value=${cap} onInput=${(event) => setCap(event.target.value)} /></label><${Act} run=${answer("approve", null, cap)}>Approve with cap<//>`}<${Act} class="danger" run=${answer("reject", one.node)}>Reject<//></div>` : html`<p class="muted">An operator can answer.</p>`}</section>`);
}

function Cancel({ state, run, close }) {
  const [reason, setReason] = useState("");
  return html`<${Dialog} title="Cancel this run" close=${close}><p>Steps that have not ended stop; what they have cost by then is paid.</p>
    <label class="field">Reason <input value=${reason} onInput=${(event) => setReason(event.target.value)} /></label>
    <${Act} class="danger" run=${async () => (await send("POST", `runs/${run.id}/cancel`, { reason }), close(), state.reload())}>Cancel the run<//><//>`;
}

function Score({ state, run, close }) {
  const [value, setValue] = useState(run.quality ?? ""), [note, setNote] = useState("");
  return html`<${Dialog} title="Score this run" close=${close}><label class="field">Quality, 0 to 1 <input type="number" min="0" max="1" step="0.01" value=${value} onInput=${(event) => setValue(event.target.value)} /></label>
    <label class="field">Note <input value=${note} onInput=${(event) => setNote(event.target.value)} /></label>
    <${Act} class="first" run=${async () => (await send("POST", `runs/${run.id}/score`, { value: Number(value), note }), close(), state.reload())}>Save<//><//>`;
}

function Replay({ state, run, close }) {
  const nodes = state.nodes.value, steps = state.ids.value.filter((id) => nodes[id].in_plan);
  const [from, setFrom] = useState(steps.find((id) => !["ok", "skipped"].includes(nodes[id].status)) ?? "");
  const [budget, setBudget] = useState(run.budget ?? ""), [swap, setSwap] = useState(""), [others, setOthers] = useState([]), [set, setSet] = useState({});
  const look = async (step) => {
    setSwap(step);
    setOthers(step ? (await get(`runs/${run.id}/nodes/${encodeURIComponent(step)}`)).alternatives : []);
  };
  const start = async () => {
    const found = await send("POST", `runs/${run.id}/replay`, { from_node: from || null, set, budget: budget || null }, crypto.randomUUID?.());
    go(`runs/${found.run}`);
  };
  const pick = (value, use, options) => html`<select value=${value} onChange=${(event) => use(event.target.value)}>${options.map(([key, text]) => html`<option value=${key} selected=${key === value}>${text}</option>`)}</select>`;
  return html`<${Dialog} title="Replay this run" close=${close}><form onSubmit=${(event) => event.preventDefault()}>
    <label class="field">From step ${pick(from, setFrom, [["", "what is not done, or changed"], ...steps.map((id) => [id, `${id} · ${nodes[id].status}`])])}<small>Results of steps before it are used again and cost nothing.</small></label>
    <label class="field">Another tool for step ${pick(swap, look, [["", "none"], ...steps.map((id) => [id, `${id} · ${set[id] ?? nodes[id].tool}`])])}</label>
    ${swap && html`<label class="field">Tool of ${swap} ${pick(set[swap] ?? "", (tool) => setSet({ ...set, [swap]: tool || undefined }), [["", `${nodes[swap].tool} (as it was)`], ...others.map((one) => [one.tool, `${one.tool}${one.cost === null ? "" : `, usually ${usd(one.cost)}`}`])])}${others.length === 0 && html`<small>No other tool of the catalogue fits.</small>`}</label>`}
    <label class="field">Budget, $ <input inputmode="decimal" value=${budget} onInput=${(event) => setBudget(event.target.value)} /></label>
    <${Act} class="first" run=${start}>Replay<//></form><//>`;
}
