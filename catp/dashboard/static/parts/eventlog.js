// Events of a run: the latest 500, older ones page by page.
import { html, useEffect, useState } from "../vendor/vendor.js";
import { get } from "../api.js";
import { setQuery } from "../store.js";
import { Choice, Copy, Failure } from "./basics.js";

const SHOWN = 500;

export function EventLog({ state, query }) {
  const open = query.get("log") !== null;
  return html`<details class="card" open=${open} onToggle=${({ target }) => target.open !== open && setQuery({ log: open ? null : "on" })}><summary><h2>Events</h2></summary>${open && html`<${Log} ...${{ query, ...state.run.value }} />`}</details>`;
}

function Log({ query, id, last_seq }) {
  const [{ items, error }, setFound] = useState({ items: [] }), [before, setBefore] = useState(null);
  useEffect(() => void get(`runs/${id}/events`, { before: before ?? last_seq + 1, limit: SHOWN }).then(setFound, (error) => setFound({ items, error })), [before ?? last_seq]);
  const find = query.get("event") ?? "", type = query.get("type") ?? "", step = query.get("step"), own = step && query.get("own");
  const shown = items.filter((one) => (!type || one.type === type) && (!own || one.step === step) && JSON.stringify(one).includes(find));
  return html`<div class="row"><label>find <input type="search" value=${find} onInput=${(event) => setQuery({ event: event.target.value })} /></label>
      <${Choice} label="type" value=${type} options=${[["", "all"], ...new Set(items.map((one) => one.type))]} pick=${(type) => setQuery({ type })} />
      ${step && html`<label><input type="checkbox" checked=${!!own} onChange=${() => setQuery({ own: own ? null : 1 })} /> only of <bdi>${step}</bdi></label>`}
      <${Copy} label="Copy as JSON" text=${JSON.stringify(shown)} /><span class="muted">${shown.length} of ${last_seq}</span>
      ${items[0]?.seq > 1 && html`<button type="button" onClick=${() => setBefore(items[0].seq)}>Older</button>`}${before && html`<button type="button" onClick=${() => setBefore(null)}>Newest</button>`}</div>
    ${error && html`<${Failure} error=${error} />`}
    <ol class="log scroll" tabindex="0" aria-label="Events">${shown.map((one) => html`<li key=${one.seq}><span class="muted num">${one.seq} ${new Date(one.at_ns / 1e6).toISOString().slice(11, 23)}</span> <strong>${one.type}</strong> <bdi>${one.step}${one.element !== undefined && `[${one.element}]`}</bdi> <code dir="auto">${JSON.stringify(one.data)}</code></li>`)}</ol>`;
}
