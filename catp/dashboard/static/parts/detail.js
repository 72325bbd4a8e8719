// One step: what it cost and why, its attempts, what went in and came out. Values are hostile text: shown, never interpreted.
import { html, useEffect, useRef, useState } from "../vendor/vendor.js";
import { url } from "../api.js";
import { setQuery, useData } from "../store.js";
import { Choice, Figure, Loaded, Status, duration, number, usd } from "./basics.js";
import { Table } from "./table.js";

const TABS = { step: "Step", values: "Inputs and outputs", money: "Money" };

export function Detail({ state, id, query, close }) {
  const node = state.of(id).value;
  const self = useRef(null);
  const tab = query.get("tab") ?? "step";
  const path = `runs/${state.run.value.id}/nodes/${encodeURIComponent(id)}`;
  const page = useData(path), shown = `${node.status} ${node.calls} ${node.actual.rows}`;
  useEffect(() => void (document.activeElement !== document.body && self.current.focus()), []);
  const first = useRef(shown);
  useEffect(() => void (first.current !== shown && ((first.current = shown), page.reload())), [shown]);
  return html`<aside class="card detail" aria-labelledby="detail"><div class="row apart"><h2 id="detail" tabindex="-1" ref=${self}><bdi>${id}</bdi></h2>
      <${Status} status=${node.cached && node.status === "ok" ? "cached" : node.status} /><button type="button" class="quiet" onClick=${close}>Close</button></div>
    <div class="row" role="group" aria-label="Detail">${Object.entries(TABS).map(([key, text]) => html`<button type="button" aria-pressed=${tab === key} onClick=${() => setQuery({ tab: key === "step" ? null : key })}>${text}</button>`)}</div>
    ${tab === "values" ? html`<${Values} path=${path} key=${shown} />` : html`<${Loaded} of=${page} what="the step">${(found) => (tab === "money" ? html`<${Bill} ...${{ found, query }} />` : html`<${Facts} ...${{ node, found }} />`)}<//>`}</aside>`;
}

function Facts({ node, found }) {
  const { est, actual } = node;
  const source = { call: "what was said when it was called", history: `what ${est.n} steps with this tool took before` }[est.source] ?? "nothing is known";
  const columns = [
    { key: "attempt", title: "attempt", num: true, cell: (row) => `${row.attempt}${row.element === null ? "" : ` [${row.element}]`}` }, { key: "tool", title: "tool", cell: (row) => `${row.tool} ${row.version}` },
    { key: "outcome", title: "end", cell: (row) => html`${row.cached ? "from the cache" : (row.outcome ?? "runs")}${row.error && html`: <span class="bad" dir="auto">${row.error.reason ?? row.error.type}</span>`}` },
    { key: "cost", title: "cost", num: true, cell: (row) => usd(row.cost) }, { key: "ms", title: "time", num: true, cell: (row) => duration(row.ms) },
  ];
  const others = [{ key: "tool", title: "tool", cell: (row) => html`${row.tool}${row.planned && html` <span class="chip">planned</span>`}` }, { key: "cost", title: "usual cost", num: true, cell: (row) => (row.n ? usd(row.cost) : row.price) }, { key: "ms", title: "usual time", num: true, cell: (row) => duration(row.ms) }];
  return html`<dl class="figures"><${Figure} label="Cost" how=${`Sum of its ledger rows; the estimate is ${source}.`}>${actual.cost === null ? (actual.unpriced ? "unpriced" : "–") : usd(actual.cost)} <small>est. ${est.cost.p50 === null ? "unknown" : usd(est.cost.p50)}</small><//>
      <${Figure} label="Time" how=${`From its first call to its end; the estimate is ${source}.`}>${duration(actual.ms)} <small>est. ${duration(est.ms.p50)}</small><//>
      <${Figure} label="Waited" how="From when it was ready until its first call.">${duration(actual.queue_ms)}<//>
      <${Figure} label="Slack" how="How much longer it could take without the run taking longer.">${node.critical ? "none: critical" : duration(node.slack_ms)}<//></dl>
    ${(node.error || node.reason) && html`<p class="failure" dir="auto">${node.error ? `${node.error.type}: ${node.error.reason ?? ""}` : node.reason}</p>`}
    <h3>Attempts</h3>${found.attempts.length ? html`<${Table} caption="Attempts" columns=${columns} rows=${found.attempts.map((one, id) => ({ id, ...one }))} />` : html`<p class="muted">It was not called.</p>`}
    ${found.alternatives.length > 0 && html`<h3>Other tools for it</h3><${Table} caption="Other tools" columns=${others} rows=${found.alternatives.map((one) => ({ id: one.tool, ...one }))} />`}`;
}

function Bill({ found, query }) {
  const attempt = query.get("attempt") ?? "", keys = [...new Set(found.attempts.map((one) => one.key).filter(Boolean))];
  const rows = found.ledger.filter((row) => !attempt || row.attempt === Number(attempt)).map((row) => ({ id: row.seq, ...row }));
  const columns = [
    { key: "kind", title: "for", cell: (row) => html`${row.kind}${row.note && html` <small class="muted" dir="auto">${row.note}</small>`}` }, { key: "quantity", title: "quantity", num: true, cell: (row) => `${number(row.quantity, 6)} ${row.unit}` },
    { key: "unit_price", title: "unit price", num: true }, { key: "amount", title: "amount", num: true, cell: (row) => usd(row.amount) }, { key: "source", title: "source", cell: (row) => `${row.source}${row.overrun ? ", over the estimate" : ""}` },
    { key: "saved", title: "saved", num: true, cell: (row) => (row.saved === null ? "" : usd(row.saved)) },
  ];
  const tries = [...new Set(found.ledger.map((row) => String(row.attempt)))];
  const sum = rows.reduce((so, row) => so + Number(row.amount ?? 0), 0);
  return html`${Object.entries(found.prices).map(([tool, rule]) => html`<p><b>${tool}</b>: ${rule ?? "this server does not know how it is priced"}</p>`)}
    ${tries.length > 1 && html`<${Choice} label="attempt" value=${attempt} options=${[["", "all"], ...tries]} pick=${(attempt) => setQuery({ attempt })} />`}
    ${rows.length ? html`<${Table} caption="Ledger rows" columns=${columns} rows=${rows} />` : html`<p class="muted">Nothing was paid.</p>`}
    <p>Sum <strong>${attempt ? usd(sum.toFixed(9)) : found.total === null ? "–" : usd(found.total)}</strong>${found.unpriced > 0 && html` <span class="chip warn">+ ${found.unpriced} unpriced</span>`}</p>
    ${keys.length > 0 && html`<p class="muted">Cache key <code>${keys.slice(0, 3).join(", ")}</code>${keys.length > 3 && ` and ${keys.length - 3} more`}</p>`}`;
}

// --- values ---------------------------------------------------------------------------------------------------------

function Values({ path }) {
  return html`<${Loaded} of=${useData(`${path}/io`)} what="the values">${({ in: given, out }) => {
    const picture = (all) => all.length === 1 && /^image\/(png|jpeg|gif|webp)/.test(all[0].mime) && all[0].artifact;
    const before = picture(given), after = picture(out);
    return html`${before && after && html`<${Slider} before=${before} after=${after} />`}
      ${[["In", given], ["Out", out]].map(([title, all]) => html`<h3>${title}</h3>${all.length ? html`<ul class="values">${all.map((one) => html`<${Value} one=${one} />`)}</ul>` : html`<p class="muted">Nothing was kept.</p>`}`)}`;
  }}<//>`;
}

const FIRST = 2000;

function Value({ one }) {
  const [whole, setWhole] = useState(false);
  if (one.more) return html`<li class="muted">and ${one.more} more elements</li>`;
  const { text, artifact, mime, bytes } = one;
  const file = artifact && url(`artifacts/${artifact}`);
  return html`<li><div class="muted"><bdi>${one.port}${one.from !== one.port && one.port !== "result" && ` ← ${one.from}`}</bdi>${one.element !== null && ` [${one.element}]`} · ${mime}${bytes !== null && ` · ${number(bytes)} bytes`}${file && html` · <a href=${file} download>Download</a>`}</div>
    ${one.error ? html`<p class="failure">${one.error}</p>`
      : text !== null ? html`<pre dir="auto" tabindex="0">${visible(whole ? text : text.slice(0, FIRST))}</pre>${text.length > FIRST && html`<button type="button" class="quiet" aria-expanded=${whole} onClick=${() => setWhole(!whole)}>${whole ? "Show less" : `Show more (${number(text.length)} characters${one.truncated ? " of a longer text" : ""})`}</button>`}`
      : /^image\/(png|jpeg|gif|webp)/.test(mime) && file ? html`<a href=${file}><img src=${url(`artifacts/${artifact}`, { thumb: 256 })} alt="${one.port} of the step" loading="lazy" /></a>`
      : html`<p class="muted">Not shown here.</p>`}</li>`;
}

// What nobody would see, or what would change the order of what is read: controls, zero width, direction marks, tags.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|\udb40[\udc00-\udfff]/u;
const visible = (text) => text.split(new RegExp(`(${HIDDEN.source})`, "u")).map((part) => (HIDDEN.test(part) ? html`<mark>U+${part.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}</mark>` : part));

/** Two pictures over each other; the slider says how much of the later one is seen. */
function Slider({ before, after }) {
  const [share, setShare] = useState(50);
  return html`<figure class="slider"><div><img src=${url(`artifacts/${before}`)} alt="before" /><img src=${url(`artifacts/${after}`)} alt="after" style="clip-path:inset(0 0 0 ${share}%)" /></div>
    <label>before <input type="range" min="0" max="100" value=${share} aria-label="how much of the picture before is shown" onInput=${(event) => setShare(Number(event.target.value))} /> after</label></figure>`;
}
