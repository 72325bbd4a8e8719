// Two to five runs beside each other. The runs are columns A to E, in the order of the address; A is what others are held against.
import { html, useEffect, useRef, useState } from "../vendor/vendor.js";
import { setQuery, useData, useEvents } from "../store.js";
import { Choice, Empty, Link, Loaded, Status, duration, number, usd } from "../parts/basics.js";
import { columns, maybe } from "../parts/columns.js";
import { PICTURE, Slider, Value, visible } from "../parts/detail.js";
import { Graph } from "../parts/graph.js";
import { Table, Twin } from "../parts/table.js";

const LETTERS = "ABCDE", MOST = 40;

export default function Compare({ query }) {
  const ids = (query.get("ids") ?? "").split(",").filter(Boolean), due = useRef(0);
  const found = useData(ids.length > 1 && ids.length < 6 ? "compare" : null, { ids: ids.join(), pair: query.get("pair") });
  const going = found.data?.runs.some((run) => !run.ended);
  const later = () => (due.current ||= setTimeout(() => ((due.current = 0), found.reload()), 1000));
  useEvents(going ? "runs" : null, { event: ({ run }) => ids.includes(run) && later(), resync: later }, [ids.join()]);
  useEffect(() => () => clearTimeout(due.current), []);
  return html`<h1>Compare</h1><${Picker} ids=${ids} runs=${found.data?.runs ?? []} />
    ${ids.length < 2 ? html`<${Empty} title="Pick ${ids.length ? "one more run" : "two to five runs"}"><p>Search for them above, or select them in <${Link} to="runs">the list of runs<//>.</p><//>`
      : html`<${Loaded} of=${found} what="the comparison">${(data) => html`<${Compared} ...${{ data, query }} />`}<//>`}`;
}

function Picker({ ids, runs }) {
  const [q, setText] = useState("");
  const offered = useData(ids.length < 5 ? "runs" : null, { q, limit: 8 }).data?.items.filter((run) => !ids.includes(run.id)) ?? [];
  const put = (next) => setQuery({ ids: next.join() || null, pair: null, step: null });
  const about = (run) => html`<bdi>${run.task || run.id}</bdi> <span class="muted">${run.policy} · ${usd(run.cost.amount)} · ${run.id.slice(-6)}</span>`;
  return html`<section class="card" aria-label="Runs to compare"><ul class="compared">${ids.map((id, i) => {
      const run = runs.find((one) => one.id.endsWith(id));
      return html`<li key=${id}><b>${LETTERS[i]}</b> <${Link} to="runs/${id}">${run ? about(run) : id}<//> ${run && html`<${Status} status=${run.status} />`}
        <button type="button" class="quiet" onClick=${() => put(ids.filter((one) => one !== id))}>Remove<span class="sr"> ${LETTERS[i]}</span></button></li>`;
    })}</ul>${ids.length < 5 ? html`<details open=${ids.length < 2}><summary>Add a run</summary>
      <input type="search" aria-label="Search runs by task or id" placeholder="task or id" value=${q} onInput=${({ target }) => setText(target.value)} />
      <ul class="compared offered">${offered.map((run) => html`<li key=${run.id}><button type="button" class="quiet" onClick=${() => put([...ids, run.id])}>＋ ${about(run)}</button></li>`)}</ul></details>`
      : ids.length > 5 && html`<p class="bad">At most five can be compared.</p>`}</section>`;
}

function Compared({ data, query }) {
  const ids = data.runs.map((run) => run.id), pair = [data.waterfall.from, data.waterfall.to], letter = (id) => LETTERS[ids.indexOf(id)];
  const end = (label, at) => html`<${Choice} label=${label} value=${pair[at]} options=${ids.filter((id) => id !== pair[1 - at]).map((id) => [id, letter(id)])}
    pick=${(id) => setQuery({ pair: (at ? [pair[0], id] : [id, pair[1]]).join() })} />`;
  const all = { data, ids, letter, pair, step: query.get("step") };
  return html`<section class="card"><h2>Figures</h2><${Figures} ...${all} /></section><section class="card"><h2>Plans, one over the other</h2><${Merged} ...${all} /></section>
    ${ids.length > 2 && html`<div class="row card">Prices and outputs ${end("from", 0)}${end("to", 1)}</div>`}<section class="card"><${Waterfall} ...${all} /></section>
    <section class="card"><${Times} ...${all} /></section><section class="card"><h2>Outputs</h2>${data.outputs.map((out) => html`<${Output} key=${out.name} ...${{ out, ...all }} />`)}</section>`;
}

const SHOW = { USD: maybe, ms: duration, "": (value) => number(value, 3) };

function Figures({ data: { kpi }, ids }) {
  const cell = (i) => ({ unit, values, delta, better }) => {
    const by = Number(delta[i]), show = SHOW[unit];
    return html`${show(values[i])}${by !== 0 && html` <span class="muted">${by > 0 ? "▲ +" : "▼ −"}${show(unit ? delta[i].replace?.("-", "") ?? Math.abs(by) : Math.abs(by))} ${better && (by > 0 === (better === "high") ? "better" : "worse")}</span>`}`;
  };
  return html`<${Table} caption="Figures of the runs" rows=${kpi.filter((one) => one.values.some((value) => value !== null)).map((one) => ({ id: one.name, ...one }))}
    columns=${[{ key: "name", title: "figure", sort: false }, ...ids.map((id, i) => ({ key: id, title: LETTERS[i], num: true, sort: false, cell: cell(i) }))]} />
    <p class="muted">▲ more, ▼ less than A. Rows without a known price are in no amount; the last line counts them.</p>`;
}

const STEP = columns("letter:run|status:status|tool:tool|text:as planned|cost:cost:$?|ms:time:ms", {
  letter: (text, { run, step }) => html`<${Link} to="runs/${run}" query=${{ node: step }}>${text} ${step}<//>`, status: (status) => html`<${Status} status=${status} />`,
});

function Merged({ data: { graph }, ids, letter, pair, step }) {
  const shown = useRef(null);
  if (shown.current?.of !== graph) { // the same objects as long as nothing changes: then nothing is drawn anew
    shown.current = { of: graph, layout: { ...graph.layout, hash: ids.join() }, plan: graph, nodes: graph.boxes, labels: Object.fromEntries(graph.nodes.map((one) => [one.id, one.label ?? undefined])) };
  }
  const chosen = graph.nodes.find((one) => one.id === step), differ = graph.nodes.filter((one) => one.step && one.label).length;
  return html`<p class="muted">${differ ? `${differ} steps differ: − missing in some run, ＋ not in A, ≠ another tool or arguments` : "All do the same steps with the same tools"}. Figures are those of ${letter(pair[1])}.</p>
    <${Graph} ...${shown.current} selected=${step} select=${(id) => setQuery({ step: id === step ? null : id })} title="merged plan" />
    ${chosen && html`<${Table} caption="Step ${chosen.title} in each run" columns=${STEP} rows=${chosen.in.map((run) => ({ id: run, run, step: chosen.step, letter: letter(run),
      ...Object.fromEntries(["status", "text", "cost", "ms"].map((key) => [key, chosen[key][run] ?? null])), tool: chosen.tools[run] }))} />`}`;
}

/** rows: [{id, name, text, bars: [[from, to, class, letter]]}], all on one axis from 0 to `most`. */
const Bars = ({ says, rows, most }) => html`<div class="aligned" role="img" aria-label=${says}>${rows.map(({ name, text, bars }) => html`<bdi>${name}</bdi><div>${bars.map(([from, to, kind, letter]) =>
  html`<div class="track">${letter && html`<b>${letter}</b>`}<svg viewBox="0 0 1000 10" preserveAspectRatio="none"><rect class=${kind} height="10" x=${(1000 * Math.min(from, to)) / most} width=${Math.max(3, (1000 * Math.abs(to - from)) / most)} /></svg></div>`)}</div>
  <span class="num">${text}</span>`)}</div>`;

const FALL = columns("step:step|delta:change:$?|total:running total:$?|unpriced:rows without a price:n");

function Waterfall({ data: { waterfall: { bars, start, end, delta, unchanged, ...pair } }, letter }) {
  const [a, b] = [letter(pair.from), letter(pair.to)], whole = (name, amount) => ({ name: `all of ${name}`, text: usd(amount), bars: [[0, Number(amount), "whole"]] });
  const rows = bars.slice(0, MOST).map((bar) => ({ name: bar.step, text: `${usd(bar.delta, { sign: true })}${bar.unpriced ? ` + ${bar.unpriced} unpriced` : ""}`,
    bars: [[Number(bar.from), Number(bar.total), Number(bar.delta) > 0 ? "more" : "less"]] }));
  return html`<${Twin} title="What makes ${b} ${Number(delta) < 0 ? "cheaper" : "dearer"} than ${a}: ${usd(delta, { sign: true })}" columns=${FALL} rows=${bars.map((bar) => ({ id: bar.step, ...bar }))}
    note="${usd(start)} and all changes make ${usd(end)}, exactly. ${unchanged} steps cost the same. Strong bars add, hollow ones save.${bars.length > MOST ? " The table has all changes." : ""}">
    <${Bars} says="Price from ${a} to ${b}, step by step" most=${Math.max(start, end, ...bars.map((bar) => bar.total), 1e-9)} rows=${[whole(a, start), ...rows, whole(b, end)]} /><//>`;
}

function Times({ data: { gantt: { ms, rows } }, ids }) {
  const text = (one) => (one ? `${duration(one.start_ms)} – ${one.end_ms === null ? "…" : duration(one.end_ms)}` : "–");
  return html`<${Twin} title="When each step ran" rows=${rows.map((row) => ({ id: row.step, ...row }))} columns=${[{ key: "step", title: "step" }, ...ids.map((id, i) => ({ key: id, title: LETTERS[i], num: true, sort: (row) => row.runs[id]?.start_ms, cell: (row) => text(row.runs[id]) }))]}
    note="From the start of each run, ${duration(ms)} in all. Strong bars are critical in their run, hollow ones came from the cache.${rows.length > MOST ? " The table has all steps." : ""}">
    <${Bars} says="Times of the steps in each run" most=${ms || 1} rows=${rows.slice(0, MOST).map(({ step, runs }) => ({ name: step, text: ids.map((id) => duration(runs[id]?.ms)).join(" · "),
      bars: ids.map((id, i) => [id, i]).filter(([id]) => runs[id]).map(([id, i]) => [runs[id].start_ms, runs[id].end_ms ?? ms, runs[id].cached ? "less" : runs[id].critical ? "more" : "whole", LETTERS[i]]) }))} /><//>`;
}

function Output({ out: { name, values, diff }, ids, letter, pair }) {
  const [side, setSide] = useState(false);
  const [old, now] = pair.map((id) => values[id]), [a, b] = pair.map(letter), differ = diff?.some(([kind]) => kind !== "same");
  const pictures = [old, now].every((one) => one?.artifact && PICTURE.test(one.mime));
  return html`<article class="output"><div class="row apart"><h3><bdi>${name}</bdi></h3>${differ && html`<button type="button" aria-pressed=${side} onClick=${() => setSide(!side)}>Side by side</button>`}</div>
    ${pictures && html`<p class="muted">${a} before, ${b} after</p><${Slider} before=${old.artifact} after=${now.artifact} />`}${diff && !differ && html`<p class="muted">The same text in ${a} and ${b}.</p>`}
    ${differ && !side ? html`<p><del>only in ${a}</del> <ins>only in ${b}</ins></p><pre dir="auto" tabindex="0">${diff.map(([kind, text]) => (kind === "same" ? visible(text) : html`<${kind}>${visible(text)}<//>`))}</pre>`
      : html`<ul class="values sides">${ids.map((id, i) => (values[id]?.status === "ok" ? html`<${Value} port=${`${name} of ${LETTERS[i]}`} from="" ...${values[id]} />`
        : html`<li><span class="muted">${LETTERS[i]}</span> ${values[id] ? html`<${Status} status=${values[id].status} /> <span dir="auto">${values[id].reason}</span>` : "has no such output"}</li>`))}</ul>`}</article>`;
}
