// The steps of a run as a table whose last column is time: estimate, waiting, attempts, slack.
import { computed, html, signal, useMemo } from "../vendor/vendor.js";
import { setQuery } from "../store.js";
import { Choice, Money, Status, duration, stateOf, usd } from "./basics.js";
import { signed } from "./columns.js";
import { OVER } from "./runstate.js";

const PAGE = 200;

/** Share of the time axis under the pointer, in all charts that have it; null while there is none. */
export const cursor = signal(null);

/** "from|to" in ms of what is shown: of the whole run, or of the attempts chosen. In whole ticks, so that it rarely changes. */
export const axisOf = (state, tries) => computed(() => {
  const run = state.run.value, now = state.now.value, all = tries === "all";
  let from = all ? 0 : Infinity, to = all ? Math.max(now ?? 0, run?.latency_ms ?? 0) : 0;
  for (const node of Object.values(state.nodes.value)) {
    for (const [start, end] of spans(node, tries, now)) (from = Math.min(from, start)), (to = Math.max(to, end));
    if (all && !OVER.has(node.status)) to = Math.max(to, (node.actual.start_ms ?? node.starts_ms ?? 0) + (node.est.ms.p50 ?? 0));
  }
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

/** [start, end, outcome] of the attempts of a node. */
function spans({ spans: many, actual: { start_ms, end_ms }, status, attempt }, tries, now) {
  if (start_ms === null) return [];
  const all = many?.length ? many.map(([n, start, end, outcome]) => [start, end ?? now ?? start, outcome, n]) : [[start_ms, end_ms ?? now ?? start_ms, status, attempt]];
  return tries === "all" ? all : all.filter(([, , , n]) => n === (tries === "last" ? attempt : Number(tries)));
}

const off = ({ est, actual, status }) => (OVER.has(status) && actual.cost !== null && est.cost.p50 > 0 ? actual.cost / est.cost.p50 - 1 : null);
const COLUMNS = { // what is sorted by
  step: ["Step"], status: ["Status", (node) => stateOf(node.status)[1]], cost: ["Cost, est → actual", (node) => Number(node.actual.cost ?? node.est.cost.p50)],
  delta: ["Δ", off], time: ["Time, est → actual", (node) => node.actual.ms ?? node.est.ms.p50], start: ["Start", (node) => node.actual.start_ms ?? node.starts_ms],
};
const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : (a ?? -Infinity) - (b ?? -Infinity) || 0);
const NEXT = { j: "nextElementSibling", ArrowDown: "nextElementSibling", k: "previousElementSibling", ArrowUp: "previousElementSibling" };

/** axis: what axisOf gave; open(id) shows a step. */
export function Gantt({ state, axis, query, open }) {
  const sort = query.get("sort") ?? "", tries = query.get("tries") ?? "all", selected = query.get("step"), find = query.get("find") ?? "";
  const known = state.nodes.peek(), key = sort.replace("-", ""), by = COLUMNS[key]?.[1] ?? ((node) => node.id), down = sort[0] === "-";
  void state.run.value; // sorted anew when figures come, not at every event
  const ids = state.ids.value.filter((id) => !find || `${id} ${known[id].tool}`.includes(find));
  if (key) ids.sort((a, b) => compare(by(known[a]), by(known[b])) * (down ? -1 : 1));
  const last = Math.max(0, Math.ceil(ids.length / PAGE) - 1);
  const page = Math.min(last, Number(query.get("rows") ?? Math.max(0, Math.floor(ids.indexOf(selected) / PAGE))));
  const most = Math.max(1, ...Object.values(known).map((node) => node.attempt));
  const keys = (event) => {
    const id = event.target.dataset.step, next = NEXT[event.key];
    if (!id || (!next && event.key !== "Enter")) return;
    event.preventDefault();
    if (next) event.target[next]?.focus();
    else open(id);
  };
  const link = ({ type, target }) => {
    for (const box of document.querySelectorAll(".graph .linked")) box.classList.remove("linked");
    const id = /over|in$/.test(type) && target.closest("tr").dataset.step;
    if (id) document.querySelector(`.graph [data-id="${CSS.escape(id)}"]`)?.classList.add("linked");
  };
  const point = ({ target, clientX }) => {
    const cell = target.closest("td.time");
    cursor.value = cell && (clientX - cell.getBoundingClientRect().left) / cell.clientWidth;
  };
  const { from, to, x } = readAxis(axis.value), tick = tickOf(to - from);
  const ticks = Array.from({ length: Math.round((to - from) / tick) }, (_, i) => from + i * tick);
  const turn = (to, text) => html`<button type="button" disabled=${to < 0 || to > last} onClick=${() => setQuery({ rows: to })}>${text}</button>`;
  return html`<div class="row apart"><h2>Timeline</h2><div class="row">
      ${most > 1 && html`<${Choice} label="attempts" value=${tries} options=${["all", "last", ..."123456789".slice(0, most)]} pick=${(one) => setQuery({ tries: one === "all" ? null : one })} />`}
      ${(last > 0 || find) && html`<label>find <input type="search" size="12" value=${find} onInput=${(event) => setQuery({ find: event.target.value, rows: null })} /></label>
        ${turn(page - 1, "Previous rows")}<span role="status">${page * PAGE + 1}–${Math.min(ids.length, (page + 1) * PAGE)} of ${ids.length}</span>${turn(page + 1, "Next rows")}`}</div></div>
    <div class="scroll" tabindex="0" role="region" aria-label="Steps over time"><table class="gantt" style="--cursor:${cursor.value ?? -1}" onMouseMove=${point} onMouseLeave=${point}><caption class="sr">Steps: status, cost, time</caption>
      <thead><tr>${Object.entries(COLUMNS).map(([name, [title]]) => html`<th scope="col" class=${name} aria-sort=${key === name ? (down ? "descending" : "ascending") : undefined}>
        <button type="button" class="quiet" onClick=${() => setQuery({ sort: sort === `-${name}` ? name : sort === name ? null : `-${name}` })}>${title}<span aria-hidden="true">${key === name ? (down ? " ▾" : " ▴") : ""}</span></button>
        ${name === "start" && ticks.map((ms) => html`<span class="tick" style="left:${x(ms)}%">${ms ? duration(ms) : "0"}</span>`)}</th>`)}</tr></thead>
      <tbody onKeyDown=${keys} onMouseOver=${link} onMouseLeave=${link} onFocusIn=${link} onFocusOut=${link}>
        ${ids.slice(page * PAGE, (page + 1) * PAGE).map((id) => html`<${Row} key=${id} id=${id} ...${{ state, axis, tries, open }} on=${id === selected} />`)}</tbody></table></div>
    <p class="muted legend">${[["est", "estimate"], ["wait", "waiting"], ["did", "at work"], ["did cached", "from the cache"], ["did bad", "failed attempt"], ["slack", "slack"]].map(([kind, text]) => html`<span><i class=${kind}></i> ${text}</span> `)}◆ on the critical path</p>`;
}

function Row({ state, id, axis, tries, open, on }) {
  const node = useMemo(() => state.of(id), [state, id]).value;
  if (!node) return null;
  const { est, actual, status, cached, critical, slack_ms } = node, change = off(node), expected = est.ms.p50 || null;
  const now = actual.start_ms !== null && actual.ms === null ? state.now.value : null; // only what runs now follows the clock
  const did = spans(node, tries, now), ms = actual.ms ?? (now === null ? null : now - actual.start_ms);
  const { x, from, to } = readAxis(axis.value);
  const part = (kind, start, end) => {
    const [a, b] = [Math.max(from, start), Math.min(to, end)].map(x);
    return b >= 0 && a <= 100 && html`<i class=${kind} style="left:${a}%;width:${b - a}%"></i>`;
  };
  const start = did[0]?.[0] ?? (OVER.has(status) ? null : node.starts_ms), end = did.at(-1)?.[1] ?? (start === null ? null : start + (expected ?? 0));
  const kind = (outcome) => (cached ? "cached" : ["error", "timeout", "failed"].includes(outcome) ? "bad" : now !== null ? "busy" : "");
  const both = (before, after) => html`<td class="num">${before && html`<span class="muted">${before} → </span>`}${after}</td>`;
  return html`<tr tabindex="0" class="open ${on ? "chosen" : ""}" data-step=${id} onClick=${() => open(id)}>
    <th scope="row" class="step"><bdi>${id}</bdi>${critical && html`<span aria-hidden="true"> ◆</span><span class="sr">, on the critical path</span>`} <small><bdi>${node.tool}</bdi>${!node.in_plan && " (earlier plan)"}</small></th>
    <td><${Status} status=${cached && status === "ok" ? "cached" : status} /></td>
    ${both(est.cost.p50 !== null && usd(est.cost.p50), actual.cost === null ? (actual.unpriced ? html`<${Money} amount=${null} />` : "–") : usd(actual.cost))}
    <td class="num ${change > 0.1 ? "warn" : ""}">${change !== null && signed(change)}</td>${both(expected && duration(expected), duration(ms))}
    <td class="time ${critical ? "critical" : ""}"><div>${start !== null && expected && part("est", start, start + expected)}
      ${did[0] && actual.queue_ms > 0 && part("wait", did[0][0] - actual.queue_ms, did[0][0])}${did.map(([a, b, outcome]) => part(`did ${kind(outcome)}`, a, b))}
      ${start !== null && slack_ms > 0 && part("slack", end, end + slack_ms)}</div></td></tr>`;
}
