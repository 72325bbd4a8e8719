// The list of runs: filters in the address, pages by key, new runs behind a pill, two to five to compare.
import { html, useEffect, useRef, useState } from "../vendor/vendor.js";
import { get, url } from "../api.js";
import { go, remember, remembered, setQuery, useData, useEvents } from "../store.js";
import { Choice, Empty, Failure, Link, Loading, Money, Status, When, duration, number, stateOf, usd } from "../parts/basics.js";
import { Table } from "../parts/table.js";

const FILTERS = ["q", "status", "project", "policy", "tool", "cost_min", "cost_max", "from", "to", "sort"];
const SHOWN = 300; // rows in the document at a time, however many are loaded

export default function Runs({ query }) {
  const filter = Object.fromEntries(FILTERS.map((key) => [key, query.get(key)]).filter(([, value]) => value));
  const list = useRuns(filter, JSON.stringify(filter));
  const facets = useData("runs/facets", { ...filter, status: null });
  const picked = (query.get("ids") ?? "").split(",").filter(Boolean);
  const pick = (id) => setQuery({ ids: (picked.includes(id) ? picked.filter((one) => one !== id) : [...picked, id]).join(",") || null });
  const { rows, error, more, fresh, busy } = list;
  const filtered = Object.keys(filter).some((key) => key !== "sort");
  return html`<h1>Runs</h1><${Filters} ...${{ filter, facets: facets.data ?? {} }} />
    <div class="row apart"><div class="row" role="status">${rows && html`<span class="muted">${number(rows.length)} of ${number(list.total)}${list.total >= 10000 ? " or more" : ""} loaded</span>`}${
      fresh > 0 && html`<button type="button" class="first" onClick=${list.take}>${fresh} new</button>`}</div>
      <div class="row">${picked.length > 0 && html`<span>${picked.length} selected</span>${picked.length > 1 && picked.length < 6 ? html`<${Link} to="compare" query=${{ ids: picked.join(",") }}>Compare<//>` : html`<span class="muted">two to five can be compared</span>`}
        <button type="button" onClick=${() => setQuery({ ids: null })}>Clear</button>`}<a href=${url("runs.csv", filter)} download>Export CSV</a></div></div>
    ${error && html`<${Failure} error=${error} retry=${list.reload} />`}
    ${!rows ? !error && html`<${Loading} what="runs" />` : rows.length ? html`<${Table} caption="Runs" columns=${columns(filter.sort, picked, pick)} rows=${rows.slice(list.first, list.first + SHOWN)} open=${(row) => go(`runs/${row.id}`)} />`
      : filtered ? html`<${Empty} title="No run matches"><button type="button" onClick=${() => go("runs")}>Clear the filters</button><//>`
      : html`<${Empty} title="No runs yet" command='catp run "tell me the language of this text" -i text="Guten Tag"'><p><${Link} to="">The overview<//> has demo data.</p><//>`}
    <div class="row">${list.first > 0 && html`<button type="button" onClick=${list.earlier}>Show the ${SHOWN} before</button>`}${more && html`<button type="button" disabled=${busy} onClick=${list.next}>${busy ? "Loading …" : "Load more"}</button>`}</div>`;
}

/** Rows of a filter: pages as they are asked for, changes in place, new runs counted until they are taken. */
function useRuns(filter, key) {
  const [state, setState] = useState({ key: null });
  const [turn, setTurn] = useState(0);
  const now = useRef(state), touched = useRef(new Set()), due = useRef(0);
  const put = (change) => setState((now.current = { ...now.current, ...change }));
  useEffect(() => {
    const stop = new AbortController();
    get("runs", filter, stop.signal).then(
      ({ items, next, total_estimate: total }) => put({ key, rows: items, more: next, total, first: 0, newer: [], error: null }),
      (error) => error.name !== "AbortError" && put({ key, error, rows: now.current.key === key ? now.current.rows : null }));
    return () => stop.abort();
  }, [key, turn]);
  const look = async () => {
    due.current = 0;
    const { rows, key: of } = now.current, seen = new Set(rows?.map((row) => row.id));
    if (of !== key || !rows) return;
    const { items } = await get("runs", filter).catch(() => ({ items: [] }));
    const known = new Map(items.map((row) => [row.id, row]));
    for (const id of [...touched.current].filter((one) => seen.has(one) && !known.has(one)).slice(0, 20)) { // no longer in the filter, or further down
      for (const row of (await get("runs", { q: id }).catch(() => ({ items: [] }))).items) known.set(row.id, row);
    }
    touched.current.clear();
    if (now.current.key === key) put({ rows: now.current.rows.map((row) => known.get(row.id) ?? row), newer: filter.sort ? [] : items.filter((row) => row.id > (rows[0]?.id ?? "")) });
  };
  useEvents("runs", {
    event: ({ run }) => (touched.current.add(run), (due.current ||= setTimeout(look, 1000))), resync: () => setTurn((n) => n + 1),
  }, [key]);
  useEffect(() => () => (clearTimeout(due.current), (due.current = 0)), [key]);
  const next = async () => {
    put({ busy: true });
    try {
      const { items, next: more } = await get("runs", { ...filter, cursor: now.current.more });
      const rows = [...now.current.rows, ...items];
      put({ rows, more, busy: false, first: Math.max(0, rows.length - SHOWN) });
    } catch (error) {
      put({ error, busy: false });
    }
  };
  const { rows, newer = [] } = state;
  return { ...state, rows: state.key ? rows : null, fresh: newer.length, next, reload: () => setTurn((n) => n + 1), earlier: () => put({ first: Math.max(0, state.first - SHOWN) }),
    take: () => put({ rows: [...newer, ...rows], newer: [], total: state.total + newer.length, first: 0 }) };
}

function columns(sort = "-created", picked, pick) {
  const by = (name, title) => html`<button type="button" class="quiet" onClick=${() => setQuery({ sort: sort === `-${name}` ? name : name === "created" ? null : `-${name}` })}>${title}${sort.endsWith(name) && html`<span aria-hidden="true">${sort[0] === "-" ? " ▾" : " ▴"}</span><span class="sr">, sorted ${sort[0] === "-" ? "down" : "up"}</span>`}</button>`;
  return [
    { key: "id", title: html`<span class="sr">select</span>`, cell: ({ id, task }) => html`<input type="checkbox" checked=${picked.includes(id)} onChange=${() => pick(id)} aria-label="select ${task} ${id.slice(-4)}" />` },
    { key: "status", title: "status", cell: (row) => html`<${Status} status=${row.status} />` },
    { key: "task", title: "task", cell: (row) => html`<${Link} to="runs/${row.id}"><bdi>${row.task || row.id}</bdi><//>${row.parent && html` <span class="chip">replay</span>`}` },
    { key: "project", title: "project", cell: (row) => html`<bdi>${row.project}</bdi>` }, { key: "policy", title: "policy", cell: (row) => html`<bdi>${row.policy}</bdi>` },
    { key: "cost", title: by("cost", "cost"), num: true, cell: ({ cost, budget }) => html`<${Money} amount=${cost.amount} unpriced=${cost.unpriced} />${budget && html` <progress max=${budget} value=${cost.amount} aria-label="of the budget"></progress> <small class="muted">of ${usd(budget)}</small>`}` },
    { key: "off", title: "vs estimate", num: true, cell: ({ cost, ended }) => (ended && Number(cost.est) ? `${cost.amount - cost.est > 0 ? "+" : "−"}${Math.abs(((cost.amount - cost.est) / cost.est) * 100).toFixed(0)} %` : "–") },
    { key: "quality", title: by("quality", "quality"), num: true, cell: (row) => row.quality === null ? html`<span class="muted">${row.predicted_quality === null ? "–" : `~ ${number(row.predicted_quality, 2)}`}</span>` : number(row.quality, 2) },
    { key: "latency", title: by("latency", "time"), num: true, cell: (row) => duration(row.latency_ms) },
    { key: "created", title: by("created", "started"), num: true, cell: (row) => html`<${When} at=${row.created} />` },
  ].map((one) => ({ ...one, sort: typeof one.title === "string" ? false : () => 0 }));
}

function Filters({ filter, facets }) {
  const [text, setText] = useState(filter.q ?? "");
  const due = useRef(0);
  const type = (value) => (setText(value), clearTimeout(due.current), (due.current = setTimeout(() => setQuery({ q: value || null }), 250)));
  useEffect(() => setText(filter.q ?? ""), [filter.q]);
  const statuses = (filter.status ?? "").split(",").filter(Boolean);
  const toggle = (one) => setQuery({ status: (statuses.includes(one) ? statuses.filter((other) => other !== one) : [...statuses, one]).join(",") || null });
  const of = (key) => html`<${Choice} label=${key} value=${filter[key] ?? ""} pick=${(value) => setQuery({ [key]: value || null })} options=${[["", "any"], ...(facets[key] ?? []).map(([name, n]) => [name, `${name} (${n})`])]} />`;
  const field = (key, label, kind) => html`<label>${label} <input type=${kind} step="any" min="0" value=${(filter[key] ?? "").slice(0, 10)} onChange=${(event) => setQuery({ [key]: event.target.value || null })} /></label>`;
  return html`<section class="card filters" aria-label="Filters"><div class="row"><input type="search" aria-label="Search tasks and ids" placeholder="Search tasks and ids" value=${text} onInput=${(event) => type(event.target.value)} />${of("project")}${of("policy")}${of("tool")}<${Views} /></div>
    <div class="row" role="group" aria-label="Status">${(facets.status ?? []).map(([one, n]) => html`<button type="button" aria-pressed=${statuses.includes(one)} onClick=${() => toggle(one)}><span aria-hidden="true">${stateOf(one)[0]}</span> ${stateOf(one)[1]} ${number(n)}</button>`)}</div>
    <details open=${["cost_min", "cost_max", "from", "to"].some((key) => filter[key])}><summary>Cost and time</summary><div class="row">${field("cost_min", "from $", "number")}${field("cost_max", "to $", "number")}${field("from", "from day", "date")}${field("to", "before day", "date")}</div></details></section>`;
}

/** Filters that somebody gave a name; they stay in this browser. */
function Views() {
  const [views, setViews] = useState(() => JSON.parse(remembered("views", "{}")));
  const keep = () => {
    const name = prompt("Name of this view");
    if (!name) return;
    setViews({ ...views, [name]: location.search });
    remember("views", JSON.stringify({ ...views, [name]: location.search }));
  };
  const names = Object.keys(views);
  return html`${names.length > 0 && html`<${Choice} label="view" value="" options=${[["", "…"], ...names]} pick=${(name) => name && go("runs", Object.fromEntries(new URLSearchParams(views[name])))} />`}<button type="button" class="quiet" onClick=${keep}>Save view</button>`;
}
