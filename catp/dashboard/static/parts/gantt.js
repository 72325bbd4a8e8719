// The steps of a run as a table whose last column is time: estimate, waiting, attempts, slack.
import { computed, html, signal, useMemo, useRef } from "../vendor/vendor.js";
import { setQuery } from "../store.js";
import { Choice, Money, Status, duration, stateOf, usd } from "./basics.js";
import { OVER } from "./runstate.js";

const PAGE = 200;

/** Share of a time axis under the pointer, of every chart with that axis; null while there is none. */
export const cursor = signal(null);

/** "from|to" in ms of what is shown: all of the run, or only the attempts chosen; in round steps, so that it rarely changes. */
export const axisOf = (state, attempt) => computed(() => {
  let from = attempt === "all" ? 0 : Infinity, to = 0;
  for (const node of Object.values(state.nodes.value)) {
    for (const [start, end] of bars(node, attempt, state.now.value)) (from = Math.min(from, start)), (to = Math.max(to, end));
    if (attempt === "all") to = Math.max(to, (node.actual.start_ms ?? node.starts_ms ?? 0) + (OVER.has(node.status) ? 0 : (node.est.ms.p50 ?? 0)));
  }
  if (attempt === "all") to = Math.max(to, state.now.value ?? 0, state.run.value.latency_ms ?? 0);
  if (!(to > from)) [from, to] = [0, Math.max(1, to)];
  const tick = tickOf(to - from);
  return `${Math.floor(from / tick) * tick}|${Math.ceil(to / tick) * tick}`;
});
const tickOf = (span) => {
  const size = 10 ** Math.floor(Math.log10(span / 5));
  return size * [1, 2, 5, 10].find((by) => span / (size * by) <= 5);
};
export const readAxis = (text) => {
  const [from, to] = text.split("|").map(Number);
  return { from, to, x: (ms) => (100 * (ms - from)) / (to - from) };
};

/** [start, end, outcome, attempt] of what a node did. */
function bars(node, attempt, now) {
  const { start_ms, end_ms } = node.actual;
  if (start_ms === null) return [];
  const all = node.spans?.length ? node.spans.map(([n, start, end, outcome]) => [start, end ?? now ?? start, outcome, n]) : [[start_ms, end_ms ?? now ?? start_ms, node.status, node.attempt]];
  if (attempt === "all") return all;
  const wanted = attempt === "last" ? node.attempt : Number(attempt);
  return all.filter(([, , , n]) => n === wanted);
}

const delta = ({ est, actual, status }) => (OVER.has(status) && actual.cost !== null && Number(est.cost.p50) > 0 ? actual.cost / est.cost.p50 - 1 : null);
const COLUMNS = {
  step: ["Step"], status: ["Status", (node) => stateOf(node.status)[1]], cost: ["Cost, est → actual", (node) => Number(node.actual.cost ?? node.est.cost.p50)],
  delta: ["Δ", delta], time: ["Time, est → actual", (node) => node.actual.ms ?? node.est.ms.p50], start: ["", (node) => node.actual.start_ms ?? node.starts_ms],
};

/** state: of followRun; axis: signal of axisOf; open(id): show a step. */
export function Gantt({ state, axis, query, open }) {
  const body = useRef(null);
  const sort = query.get("sort") ?? "", attempt = query.get("tries") ?? "all", selected = query.get("step");
  const key = sort.replace("-", ""), value = COLUMNS[key]?.[1];
  const known = state.nodes.peek();
  state.run.value; // sorted anew when figures come, not on every event
  let ids = state.ids.value;
  if (key) ids = [...ids].sort((a, b) => order(value ? value(known[a]) : a, value ? value(known[b]) : b) * (sort[0] === "-" ? -1 : 1));
  const find = query.get("find") ?? "";
  if (find) ids = ids.filter((id) => `${id} ${known[id].tool}`.includes(find));
  const last = Math.max(0, Math.ceil(ids.length / PAGE) - 1);
  const page = Math.min(last, Number(query.get("rows") ?? Math.max(0, Math.floor(ids.indexOf(selected) / PAGE))));
  const tries = Math.max(1, ...Object.values(known).map((node) => node.attempt));
  const keys = (event) => {
    const go = { j: "nextElementSibling", ArrowDown: "nextElementSibling", k: "previousElementSibling", ArrowUp: "previousElementSibling" }[event.key];
    if (event.target.tagName !== "TR" || (!go && event.key !== "Enter")) return;
    event.preventDefault();
    if (go) event.target[go]?.focus();
    else open(event.target.dataset.step);
  };
  const link = (event) => {
    const id = event.type === "mouseleave" || event.type === "focusout" ? null : event.target.closest("tr")?.dataset.step;
    for (const box of document.querySelectorAll(".graph .linked")) box.classList.remove("linked");
    if (id) document.querySelector(`.graph [data-id="${CSS.escape(id)}"]`)?.classList.add("linked");
  };
  const point = (event) => {
    const cell = event.target.closest("td.time");
    cursor.value = cell && (event.clientX - cell.getBoundingClientRect().left) / cell.clientWidth;
  };
  const { from, to, x } = readAxis(axis.value), tick = tickOf(to - from);
  const ticks = Array.from({ length: Math.round((to - from) / tick) }, (_, i) => from + i * tick);
  return html`<div class="row apart"><h2>Timeline</h2><div class="row">
      ${tries > 1 && html`<${Choice} label="attempts" value=${attempt} options=${["all", "last", ...Array.from({ length: Math.min(9, tries) }, (_, i) => String(i + 1))]} pick=${(tries) => setQuery({ tries: tries === "all" ? null : tries })} />`}
      ${(last > 0 || find) && html`<label>find <input type="search" size="12" value=${find} onInput=${(event) => setQuery({ find: event.target.value, rows: null })} /></label>
        <button type="button" disabled=${page === 0} onClick=${() => setQuery({ rows: page - 1 })}>Previous rows</button>
        <span role="status">${page * PAGE + 1}–${Math.min(ids.length, (page + 1) * PAGE)} of ${ids.length}</span>
        <button type="button" disabled=${page === last} onClick=${() => setQuery({ rows: page + 1 })}>Next rows</button>`}</div></div>
    <div class="scroll" tabindex="0" role="region" aria-label="Steps over time"><table class="gantt" style="--cursor:${cursor.value ?? -1}" onMouseMove=${point} onMouseLeave=${point}><caption class="sr">Steps: status, cost, time</caption>
      <thead><tr>${Object.entries(COLUMNS).map(([name, [title]]) => html`<th scope="col" class=${name} aria-sort=${key === name ? (sort[0] === "-" ? "descending" : "ascending") : undefined}>
        <button type="button" class="quiet" onClick=${() => setQuery({ sort: sort === `-${name}` ? name : sort === name ? null : `-${name}` })}>${title || html`<span class="sr">Start</span>`}<span aria-hidden="true">${key === name ? (sort[0] === "-" ? " ▾" : " ▴") : ""}</span></button>
        ${name === "start" && ticks.map((ms) => html`<span class="tick" style="left:${x(ms)}%">${duration(ms)}</span>`)}</th>`)}</tr></thead>
      <tbody ref=${body} onKeyDown=${keys} onMouseOver=${link} onMouseLeave=${link} onFocusIn=${link} onFocusOut=${link}>
        ${ids.slice(page * PAGE, (page + 1) * PAGE).map((id) => html`<${Row} key=${id} id=${id} ...${{ state, axis, attempt, open }} on=${id === selected} />`)}</tbody></table></div>
    <p class="muted legend"><i class="est"></i> estimate <i class="wait"></i> waiting <i class="did"></i> at work <i class="did cached"></i> from the cache <i class="did bad"></i> failed attempt <i class="slack"></i> slack <span>◆ on the critical path</span></p>`;
}

function order(a, b) {
  if (typeof a === "string") return a.localeCompare(b);
  return (a ?? -Infinity) - (b ?? -Infinity) || 0;
}

function Row({ state, id, axis, attempt, open, on }) {
  const node = useMemo(() => state.of(id), [state, id]).value;
  if (!node) return null;
  const { est, actual, status } = node, change = delta(node);
  const shown = node.cached && status === "ok" ? "cached" : status;
  const begun = actual.start_ms !== null;
  const now = begun && actual.ms === null ? state.now.value : null; // only what runs now follows the clock
  const did = begun ? bars(node, attempt, now) : [];
  const ms = actual.ms ?? (now === null ? null : now - actual.start_ms);
  const { x, from, to } = readAxis(axis.value);
  const part = (kind, start, end) => end > from && start < to && html`<i class=${kind} style="left:${x(Math.max(from, start))}%;width:${x(Math.min(to, end)) - x(Math.max(from, start))}%"></i>`;
  const start = did[0]?.[0] ?? (OVER.has(status) ? null : node.starts_ms), end = did.at(-1)?.[1] ?? start;
  return html`<tr tabindex="0" class="open ${on ? "chosen" : ""}" data-step=${id} onClick=${() => open(id)}>
    <th scope="row" class="step"><bdi>${id}</bdi>${node.critical && html`<span title="on the critical path"><span aria-hidden="true"> ◆</span><span class="sr">, on the critical path</span></span>`} <small class="muted"><bdi>${node.tool}</bdi>${!node.in_plan && " (earlier plan)"}</small></th>
    <td><${Status} status=${shown} /></td>
    <td class="num">${est.cost.p50 !== null && html`<span class="muted">${usd(est.cost.p50)} → </span>`}${actual.cost === null ? (actual.unpriced ? html`<${Money} amount=${null} />` : "–") : usd(actual.cost)}</td>
    <td class="num">${change === null ? "" : html`<span class=${change > 0.1 ? "warn" : ""}>${change > 0 ? "+" : change < 0 ? "−" : "±"}${Math.abs(change * 100).toFixed(0)} %</span>`}</td>
    <td class="num">${est.ms.p50 !== null && html`<span class="muted">${duration(est.ms.p50)} → </span>`}${duration(ms)}</td>
    <td class="time ${node.critical ? "critical" : ""}"><div>${start !== null && est.ms.p50 !== null && part("est", start, start + est.ms.p50)}
      ${did.length > 0 && actual.queue_ms > 0 && part("wait", did[0][0] - actual.queue_ms, did[0][0])}
      ${did.map(([from, end, outcome]) => part(`did ${node.cached ? "cached" : ["error", "timeout", "failed"].includes(outcome) ? "bad" : now !== null ? "busy" : ""}`, from, end))}
      ${start !== null && node.slack_ms > 0 && part("slack", end, end + node.slack_ms)}</div></td></tr>`;
}
