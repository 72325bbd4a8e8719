// Events of a run, the latest 500; older ones page by page.
import { html, useEffect, useState } from "../vendor/vendor.js";
import { get } from "../api.js";
import { setQuery } from "../store.js";
import { Choice, Copy, Failure } from "./basics.js";

const SHOWN = 500;

export function EventLog({ state, query }) {
  const open = query.get("log") !== null;
  return html`<details class="card" open=${open} onToggle=${(event) => event.target.open !== open && setQuery({ log: open ? null : "" })}><summary><h2>Events</h2></summary>${open && html`<${Log} ...${{ state, query }} />`}</details>`;
}

function Log({ state, query }) {
  const { id, last_seq } = state.run.value;
  const [{ items, upto, error }, setFound] = useState({ items: [], upto: null, error: null });
  const load = (before) => get(`runs/${id}/events`, { before, limit: SHOWN }).then((found) => ({ items: found.items, error: null }), (error) => ({ error }));
  useEffect(() => void load(upto ?? last_seq + 1).then((found) => setFound((old) => ({ ...old, ...found }))), [id, upto, upto === null && last_seq]);
  const text = query.get("log") ?? "", type = query.get("type") ?? "", step = query.get("step");
  const shown = items.filter((one) => (!type || one.type === type) && (!query.get("own") || one.step === step) && (!text || JSON.stringify(one).includes(text)));
  const move = (upto) => setFound((old) => ({ ...old, upto }));
  return html`<div class="row"><label>find <input type="search" value=${text} onInput=${(event) => setQuery({ log: event.target.value })} /></label>
      <${Choice} label="type" value=${type} options=${[["", "all"], ...new Set(items.map((one) => one.type))]} pick=${(type) => setQuery({ type })} />
      ${step && html`<label><input type="checkbox" checked=${query.get("own")} onChange=${() => setQuery({ own: query.get("own") ? null : 1 })} /> only of <bdi>${step}</bdi></label>`}
      <${Copy} label="Copy as JSON" text=${JSON.stringify(shown)} /><span class="muted">${shown.length} of ${last_seq}</span>
      ${items[0]?.seq > 1 && html`<button type="button" onClick=${() => move(items[0].seq)}>Older</button>`}${upto !== null && html`<button type="button" onClick=${() => move(null)}>Newest</button>`}</div>
    ${error && html`<${Failure} error=${error} />`}
    <ol class="log scroll" tabindex="0" aria-label="Events">${shown.map((one) => html`<li key=${one.seq}><span class="muted num">${one.seq} ${new Date(one.at_ns / 1e6).toISOString().slice(11, 23)}</span> <strong>${one.type}</strong> <bdi>${one.step}${one.element !== undefined && `[${one.element}]`}</bdi> <code dir="auto">${JSON.stringify(one.data)}</code></li>`)}</ol>`;
}
