// One step: what it cost and why, its attempts, what went in and came out. Values are hostile text: shown, never interpreted.
import { html, useEffect, useRef, useState } from "../vendor/vendor.js";
import { url } from "../api.js";
import { setQuery, useData } from "../store.js";
import { Choice, Figure, Loaded, Status, duration, number, usd } from "./basics.js";
import { columns } from "./columns.js";
import { Table } from "./table.js";

const TABS = { step: "Step", values: "Inputs and outputs", money: "Money" };

export function Detail({ state, id, query, close }) {
  const node = state.of(id).value, heading = useRef(null);
  const tab = query.get("tab") ?? "step", path = `runs/${state.run.value.id}/nodes/${encodeURIComponent(id)}`;
  const page = useData(path), now = `${node.status} ${node.calls} ${node.actual.rows}`, shown = useRef(now);
  useEffect(() => void (document.activeElement !== document.body && heading.current.focus()), []);
  useEffect(() => void (shown.current !== now && ((shown.current = now), page.reload())), [now]);
  return html`<aside class="card detail" aria-labelledby="detail"><div class="row apart"><h2 id="detail" tabindex="-1" ref=${heading}><bdi>${id}</bdi></h2>
      <${Status} status=${node.cached && node.status === "ok" ? "cached" : node.status} /><button type="button" class="quiet" onClick=${close}>Close</button></div>
    <div class="row" role="group" aria-label="Detail">${Object.entries(TABS).map(([key, text]) => html`<button type="button" aria-pressed=${tab === key} onClick=${() => setQuery({ tab: key === "step" ? null : key })}>${text}</button>`)}</div>
    ${tab === "values" ? html`<${Values} path=${path} key=${now} />` : html`<${Loaded} of=${page} what="the step">${(found) => html`<${tab === "money" ? Bill : Facts} ...${{ node, found, query }} />`}<//>`}</aside>`;
}

const CALLS = columns("attempt:attempt:n|tool:tool|outcome:end|cost:cost:$|ms:time:ms", {
  attempt: (n, { element }) => `${n}${element === null ? "" : ` [${element}]`}`, tool: (tool, { version }) => `${tool} ${version}`,
  outcome: (end, { cached, error }) => html`${cached ? "from the cache" : (end ?? "runs")}${error && html`: <bdi class="bad">${error.reason ?? error.type}</bdi>`}`,
});
const OTHERS = columns("tool:tool|cost:usual cost:$|ms:usual time:ms", { tool: (tool, { planned }) => html`${tool}${planned && html` <span class="chip">planned</span>`}`, cost: (cost, { n, price }) => (n ? usd(cost) : price) });

function Facts({ node: { est, actual, critical, slack_ms, error, reason }, found }) {
  const source = { call: "what was said when it was called", history: `what ${est.n} steps with this tool took before` }[est.source] ?? "not known";
  return html`<dl class="figures"><${Figure} label="Cost" how=${`Sum of its ledger rows; the estimate is ${source}.`}>${actual.cost === null ? (actual.unpriced ? "unpriced" : "–") : usd(actual.cost)} <small>est. ${est.cost.p50 === null ? "unknown" : usd(est.cost.p50)}</small><//>
      <${Figure} label="Time" how=${`From its first call to its end; the estimate is ${source}.`}>${duration(actual.ms)} <small>est. ${duration(est.ms.p50)}</small><//>
      <${Figure} label="Waited" how="From when it was ready until its first call.">${duration(actual.queue_ms)}<//>
      <${Figure} label="Slack" how="How much longer it could take without the run taking longer.">${critical ? "none: critical" : duration(slack_ms)}<//></dl>
    ${(error || reason) && html`<p class="failure" dir="auto">${error ? `${error.type}: ${error.reason ?? ""}` : reason}</p>`}
    <h3>Attempts</h3>${found.attempts.length ? html`<${Table} caption="Attempts" columns=${CALLS} rows=${found.attempts.map((one, id) => ({ id, ...one }))} />` : html`<p class="muted">It was not called.</p>`}
    ${found.alternatives.length > 0 && html`<h3>Other tools for it</h3><${Table} caption="Other tools" columns=${OTHERS} rows=${found.alternatives.map((one) => ({ id: one.tool, ...one }))} />`}`;
}

const ROWS = columns("kind:for|quantity:quantity:n|unit_price:unit price:n|amount:amount:$|source:source|saved:saved:$", {
  kind: (kind, { note }) => html`${kind}${note && html` <small dir="auto">${note}</small>`}`, quantity: (n, { unit }) => `${number(n, 6)} ${unit}`, unit_price: (price) => price,
  source: (source, { overrun }) => `${source}${overrun ? ", over the estimate" : ""}`, saved: (saved) => saved && usd(saved),
});

function Bill({ found, query }) {
  const attempt = query.get("attempt") ?? "", tries = [...new Set(found.ledger.map((row) => String(row.attempt)))];
  const rows = found.ledger.filter((row) => !attempt || row.attempt === Number(attempt)), keys = [...new Set(found.attempts.map((one) => one.key).filter(Boolean))];
  const sum = attempt ? rows.reduce((so, row) => so + Number(row.amount), 0).toFixed(9) : found.total;
  return html`${Object.entries(found.prices).map(([tool, rule]) => html`<p><b>${tool}</b>: ${rule ?? "this server does not know how it is priced"}</p>`)}
    ${tries.length > 1 && html`<${Choice} label="attempt" value=${attempt} options=${[["", "all"], ...tries]} pick=${(attempt) => setQuery({ attempt })} />`}
    ${rows.length ? html`<${Table} caption="Ledger rows" columns=${ROWS} rows=${rows.map((row) => ({ id: row.seq, ...row }))} />` : html`<p class="muted">Nothing was paid.</p>`}
    <p>Sum <strong>${sum === null ? "–" : usd(sum)}</strong>${found.unpriced > 0 && html` <span class="chip warn">+ ${found.unpriced} unpriced</span>`}</p>
    ${keys.length > 0 && html`<p class="muted">Cache key <code>${keys.slice(0, 3).join(", ")}</code>${keys.length > 3 && ` and ${keys.length - 3} more`}</p>`}`;
}

// --- values ---------------------------------------------------------------------------------------------------------

export const PICTURE = /^image\/(png|jpeg|gif|webp)/;

function Values({ path }) {
  const one = (all) => all.length === 1 && PICTURE.test(all[0].mime) && all[0].artifact;
  return html`<${Loaded} of=${useData(`${path}/io`)} what="the values">${({ in: given, out }) => html`${one(given) && one(out) && html`<${Slider} before=${one(given)} after=${one(out)} />`}
    ${[["In", given], ["Out", out]].map(([title, all]) => html`<h3>${title}</h3>${all.length ? html`<ul class="values">${all.map((one) => html`<${Value} ...${one} />`)}</ul>` : html`<p class="muted">Nothing was kept.</p>`}`)}`}<//>`;
}

const FIRST = 2000;

export function Value({ port, from, element, mime, bytes, text, truncated, artifact, error, more }) {
  const [whole, setWhole] = useState(false);
  if (more) return html`<li class="muted">and ${more} more elements</li>`;
  const file = artifact && url(`artifacts/${artifact}`);
  return html`<li><div class="muted"><bdi>${port}${from && port !== "result" && ` ← ${from}`}</bdi>${element !== null && ` [${element}]`} · ${mime}${bytes !== null && ` · ${number(bytes)} bytes`}${file && html` · <a href=${file} download>Download</a>`}</div>
    ${error ? html`<p class="failure">${error}</p>`
      : text !== null ? html`<pre dir="auto" tabindex="0">${visible(whole ? text : text.slice(0, FIRST))}</pre>${text.length > FIRST && html`<button type="button" class="quiet" aria-expanded=${whole} onClick=${() => setWhole(!whole)}>${whole ? "Show less" : `Show more (${number(text.length)} characters${truncated ? " of a longer text" : ""})`}</button>`}`
      : PICTURE.test(mime) && file ? html`<a href=${file}><img src="${file}?thumb=256" alt="${port} of the step" loading="lazy" /></a>`
      : html`<p class="muted">Too large, or nothing to read: it is not shown here.</p>`}</li>`;
}

// What nobody would see, or what would change the order in which a text is read: controls, zero width, direction marks, tags.
const HIDDEN = /([\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}])/u;
export const visible = (text) => text.split(HIDDEN).map((part, i) => (i % 2 ? html`<mark>U+${part.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}</mark>` : part));

/** Two pictures over each other; the slider says how much of the earlier one is seen. */
export function Slider({ before, after }) {
  const [share, setShare] = useState(50);
  return html`<figure class="slider"><div><img src=${url(`artifacts/${before}`)} alt="before" /><img src=${url(`artifacts/${after}`)} alt="after" style="clip-path:inset(0 0 0 ${share}%)" /></div>
    <label>before <input type="range" value=${share} aria-label="how much of the picture before is shown" onInput=${(event) => setShare(Number(event.target.value))} /> after</label></figure>`;
}
