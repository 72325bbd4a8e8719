// Why a run has its plan: what else was considered, and what another tool would change. Nothing here calls a tool.
import { html, useEffect, useState } from "../vendor/vendor.js";
import { send } from "../api.js";
import { go, may, useData } from "../store.js";
import { Act, Choice, Failure, How, Link, Loaded, duration, number, usd } from "./basics.js";
import { Table } from "./table.js";

export function Verdict({ of, why }) {
  const [shape, colour] = !of.fits ? ["✕", "bad"] : of.fit === "fits" ? ["✓", "good"] : ["◪", "warn"];
  return html`<span class="status ${colour}"><span aria-hidden="true">${shape}</span> ${of.fit.replaceAll("_", " ")}</span>${why && of.reasons.map((one) => html`<br />${one.text}${one.help && `; ${one.help}`}`)}`;
}
const both = (show, { p50, p95 }) => html`${show(p50)}${p95 != null && html` <small class="muted">p95 ${show(p95)}</small>`}`;
export const figures = (cost, ms) => [
  { key: "cost", title: "expected price", num: true, sort: (row) => cost(row).p50, cell: (row) => both(usd, cost(row)) },
  { key: "ms", title: "expected time", num: true, sort: (row) => ms(row).p50, cell: (row) => both(duration, ms(row)) },
];

/** The plans there are; `more` are further columns. */
export function Plans({ rows, more, ...rest }) {
  const columns = [{ key: "rank", title: "rank", num: true }, ...figures((row) => row.est, ({ est_ms }) => est_ms?.p50 === undefined ? { p50: est_ms } : est_ms),
    { key: "quality", title: "predicted quality", num: true, cell: (row) => number(row.quality, 2) },
    { key: "utility", title: html`utility <${How} of="utility">alpha × quality − (1 − alpha) × price, as a share of the price of the cheapest plan about as good as the best.<//>`, num: true, cell: (row) => number(row.utility, 3) }];
  return html`<${Table} caption="Plans that were considered" columns=${[...columns, ...more]} rows=${rows.map((one) => ({ ...one, id: one.rank }))} ...${rest} />`;
}

/**
 * Another tool for a step, on paper. basis: {run} or {plan, preview}; others: {step: alternatives}; outputs: those that may be
 * dropped; seen(answer) hears of every estimate; children(answer) acts on one.
 */
export function WhatIf({ basis, others, outputs = [], seen, children }) {
  const [change, pick] = useState(""), [{ found, error }, setFound] = useState({});
  useEffect(() => {
    const stop = new AbortController(), show = (answer) => (setFound(answer), seen?.(answer.found));
    if (!change) show({});
    else send("POST", "plans:whatif", { ...basis, ...JSON.parse(change) }, undefined, stop.signal).then((one) => show({ found: one }), (problem) => problem.name !== "AbortError" && show({ error: problem }));
    return () => stop.abort();
  }, [change]);
  const options = [...Object.entries(others).flatMap(([id, all]) => all.map((one) => [JSON.stringify({ swap: { [id]: one.tool } }), `${id}: ${one.instead_of} → ${one.tool}: ${one.says}`])),
    ...outputs.map((name) => [JSON.stringify({ drop: [name] }), `without ${name}`])];
  return options.length ? html`<${Choice} label="change" value=${change} options=${[["", "nothing"], ...options]} pick=${pick} /><div role="status">${error && html`<${Failure} error=${error} />`}
    ${found && html`<p><strong>${found.delta.says}</strong>: ${found.says} <${Verdict} of=${found.verdict} why /></p>`}</div>${found && children(found)}` : "No other tool of the catalogue fits.";
}

export function Candidates({ run, selected }) {
  const found = useData(`runs/${run.id}/candidates`), others = useData(may() && (selected || run.progress.total <= 60) ? `runs/${run.id}/alternatives` : null, { step: selected });
  const replay = async (swap) => go(`runs/${(await send("POST", `runs/${run.id}/replay`, { set: swap }, crypto.randomUUID?.())).run}`);
  return html`<${Loaded} of=${found} what="candidates">${({ items }) => items.length ? html`<${Plans} rows=${items} more=${[
      { key: "chosen", title: "chosen", cell: (row) => row.chosen && html`<span class="chip good">✓ chosen</span>` },
      { key: "graph", title: "graph", sort: false, cell: (row) => html`<${Link} to="runs/${run.id}" query=${{ plan: row.plan_hash }}>plan ${row.rank}<//>` }]} />` : html`<p class="muted">This plan was given; no other was considered.</p>`}<//>
    <${Loaded} of=${others} what="alternatives">${(tools) => html`<h3>What if …</h3><${WhatIf} key=${selected} basis=${{ run: run.id }} others=${tools}>${({ swap, anew }) =>
      html`<${Act} class="first" run=${() => replay(swap)}>Replay with this<//> <small class="muted">runs ${anew.steps.join(", ")} anew, about ${usd(anew.cost)}</small>`}<//>`}<//>`;
}
