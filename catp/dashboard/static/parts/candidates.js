// Why a run has its plan: what else was considered, and what another tool would change. Nothing here calls a tool.
import { html, useEffect, useState } from "../vendor/vendor.js";
import { send } from "../api.js";
import { go, may, useData } from "../store.js";
import { Act, Choice, Failure, How, Link, Loaded, duration, number, usd } from "./basics.js";
import { Table } from "./table.js";

const FITS = { fits: ["✓", "fits", "good"], expected_fits: ["◪", "may exceed a limit", "warn"], unpriced: ["$", "unpriced", "warn"], does_not_fit: ["✕", "does not fit", "bad"] };
export function Verdict({ of, why }) {
  const [shape, word, colour] = FITS[of.fit];
  return html`<span class="status ${colour}"><span aria-hidden="true">${shape}</span> ${word}</span>${why && of.reasons.map((one) => html`<br />${one.text}${one.help && `; ${one.help}`}`)}`;
}
const faint = (text) => html` <small class="muted">${text}</small>`;
const Both = ({ p50, p95, show }) => html`${show(p50)}${p95 != null && faint(`p95 ${show(p95)}`)}`;
export const figures = (cost, ms) => [
  { key: "cost", title: "expected price", num: true, sort: (row) => cost(row).p50, cell: (row) => html`<${Both} ...${cost(row)} show=${usd} />` },
  { key: "ms", title: "expected time", num: true, sort: (row) => ms(row).p50, cell: (row) => html`<${Both} ...${ms(row)} show=${duration} />` },
];

/** The plans there are; `more` are further columns. */
export function Plans({ rows, more, ...rest }) {
  const columns = [{ key: "rank", title: "rank", num: true }, ...figures((row) => row.est, (row) => row.est_ms?.p50 === undefined ? { p50: row.est_ms } : row.est_ms),
    { key: "quality", title: "predicted quality", num: true, cell: (row) => number(row.quality, 2) },
    { key: "utility", title: html`utility <${How} of="utility">alpha × quality − (1 − alpha) × price, the price as a share of that of the cheapest plan about as good as the best.<//>`, num: true, cell: (row) => number(row.utility, 3) }];
  return html`<${Table} caption="Plans that were considered" columns=${[...columns, ...more]} rows=${rows.map((one) => ({ ...one, id: one.rank }))} ...${rest} />`;
}

/**
 * Other tools for steps, on paper. basis: {run} or {plan, preview}; others: {step: alternatives}; outputs: those that may be
 * dropped; seen(answer) hears of every estimate, null for none; children(answer) acts on one.
 */
export function WhatIf({ basis, others, outputs = [], seen, children }) {
  const [{ swap, drop }, ask] = useState({ swap: {}, drop: [] });
  const [{ found, error }, setFound] = useState({});
  useEffect(() => {
    const stop = new AbortController();
    const show = (answer) => (setFound(answer), seen?.(answer.found));
    show({});
    if (drop.length || Object.keys(swap).length) {
      send("POST", "plans:whatif", { ...basis, swap, drop }, undefined, stop.signal).then((one) => show({ found: one }), (problem) => problem.name !== "AbortError" && show({ error: problem }));
    }
    return () => stop.abort();
  }, [swap, drop]);
  const steps = Object.entries(others).filter(([, all]) => all.length);
  const { before, after, delta, verdict } = found ?? {};
  return html`<div class="whatif">${steps.map(([id, all]) => html`<${Choice} label=${id} value=${swap[id] ?? ""} options=${[["", all[0].instead_of], ...all.map((one) => [one.tool, `${one.instead_of} → ${one.tool}: ${one.says}`])]}
      pick=${(tool) => ask({ swap: Object.fromEntries(Object.entries({ ...swap, [id]: tool }).filter((one) => one[1])), drop })} />`)}
    ${outputs.map((name) => html`<label><input type="checkbox" onChange=${({ target }) => ask({ swap, drop: drop.filter((one) => one !== name).concat(target.checked ? name : []) })} /> without ${name}</label>`)}
    ${!steps.length && !outputs.length && "No other tool of the catalogue fits."}</div>
    <div role="status">${error && html`<${Failure} error=${error} />`}${found && html`<p><strong>${delta.says}</strong>: ${usd(before.est.p50)} → <${Both} ...${after.est} show=${usd} />, ${after.est_ms.p50 !== null && html`${duration(before.est_ms.p50)} → <${Both} ...${after.est_ms} show=${duration} />, `}
      ${after.quality !== null && `quality ${number(before.quality, 2)} → ${number(after.quality, 2)}, `}critical ${after.critical_path.join(" → ")} <${Verdict} of=${verdict} why /></p>`}</div>${found && children(found)}`;
}

export function Candidates({ run, selected }) {
  const found = useData(`runs/${run.id}/candidates`), large = run.progress.total > 60 && !selected;
  const others = useData(large || !may() ? null : `runs/${run.id}/alternatives`, { step: selected });
  const replay = async (swap) => go(`runs/${(await send("POST", `runs/${run.id}/replay`, { set: swap }, crypto.randomUUID?.())).run}`);
  return html`<${Loaded} of=${found} what="candidates">${({ items }) => items.length ? html`<${Plans} rows=${items} more=${[
      { key: "chosen", title: "chosen", cell: (row) => row.chosen && html`<span class="chip good">✓ chosen</span>` },
      { key: "graph", title: "graph", sort: false, cell: (row) => html`<${Link} to="runs/${run.id}" query=${{ plan: row.plan_hash }}>plan ${row.rank}<//>` }]} />` : html`<p class="muted">This plan was given; no other was considered.</p>`}<//>
    ${may() && html`<h3>What if …</h3>${large ? "Choose a step to see which tools could stand in." : html`<${Loaded} of=${others} what="alternatives">${(tools) => html`<${WhatIf} key=${selected} basis=${{ run: run.id }} others=${tools}>${({ swap, anew }) =>
      html`<${Act} class="first" run=${() => replay(swap)}>Replay with this<//>${faint(`runs ${anew.steps.join(", ")} anew, about ${usd(anew.cost)}`)}`}<//>`}<//>`}`}`;
}
