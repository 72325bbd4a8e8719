// How this dashboard looks and how its server is set up; old runs are removed here, and every change is listed.
import { html, useState } from "../vendor/vendor.js";
import { send } from "../api.js";
import { may, setQuery, theme, useData } from "../store.js";
import { Act, Choice, Copy, Dialog, Link, Loaded, Money, When, number } from "../parts/basics.js";
import { Table } from "../parts/table.js";

const size = (bytes) => (bytes === null ? "–" : `${number(bytes / 1e6, 1)} MB`);
const Facts = ({ title, of }) => html`<section class="card"><h2>${title}</h2><dl class="facts">${of.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([key, value]) => html`<div><dt>${key}</dt><dd>${value}</dd></div>`)}</dl></section>`;

export default function Page({ query }) {
  const found = useData("settings");
  return html`<h1>Settings</h1><div class="grid"><section class="card"><h2>This browser</h2><p><${Choice} label="Colour scheme" value=${theme.value} options=${["system", "light", "dark"]} pick=${(value) => (theme.value = value)} /></p>
    <button type="button" onClick=${() => document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "?", bubbles: true }))}>Keyboard shortcuts</button></section>
    <${Loaded} of=${found} what="settings">${(data) => html`<${Server} data=${data} reload=${found.reload} />`}<//><${Prices} /></div>${may("admin") && html`<${Audit} query=${query} />`}`;
}

function Server({ data: { sizes, versions, read_only: readOnly, admin }, reload }) {
  const [open, setOpen] = useState(false);
  const say = (counts) => Object.entries(counts).map(([name, n]) => `${number(n)} ${name}`).join(", ") || "none";
  return html`<section class="card"><h2>Store</h2><dl class="facts">${[
    admin && ["Database", html`<code>${admin.store.name}</code> <${Copy} text=${admin.store.name} />`], admin && ["Layout", `${admin.store.kind}, version ${admin.store.version}`], admin && ["Size", size(admin.store.bytes)],
    ["Runs", say(sizes.runs)], ["Spent", html`<${Money} amount=${sizes.spent} unpriced=${sizes.unpriced_rows} />`], ["Files", `${number(sizes.files)}, ${size(sizes.file_bytes)}`], ["Oldest run", html`<${When} at=${sizes.first} />`],
    ["Retention", "Runs stay until somebody removes them; sums and budgets keep counting those."]].filter(Boolean).map(([key, value]) => html`<div><dt>${key}</dt><dd>${value}</dd></div>`)}</dl>
    <p class="row"><a href="api/v1/runs.csv" download>All runs as CSV</a><${Link} to="spend">Budgets<//>${may("admin") && html`<button type="button" class="danger" onClick=${() => setOpen(true)}>Remove old runs …</button>`}</p>
    <details><summary>Rows by table</summary><${Table} caption="Rows by table" rows=${Object.entries(sizes.rows).map(([id, n]) => ({ id, n }))} columns=${[{ key: "id", title: "Table" }, { key: "n", title: "Rows", num: true, cell: (row) => number(row.n) }]} /></details>
    ${open && html`<${Prune} close=${() => (setOpen(false), reload())} />`}</section>
    ${admin && html`<${Facts} title="Server" of=${[["Changes", readOnly ? "none: read-only" : "allowed"], ["Prefix", admin.server.root_path], ["Answers as", admin.server.hosts.join(", ")], ["Tokens for", admin.server.roles.join(", ") || "nobody: this machine only"],
      ["Engine", admin.engine ?? "none"], ["Training runs", admin.training], ["Telemetry", admin.telemetry.endpoint ?? "OTEL_EXPORTER_OTLP_ENDPOINT is not set"], ["Its headers", admin.telemetry.headers.join(", ")]]} />`}
    <${Facts} title="Versions" of=${Object.entries(versions)} />`;
}

function Prune({ close }) {
  const [days, setDays] = useState(90), [counted, setCounted] = useState(null);
  const ask = async (dry_run) => setCounted(await send("POST", "prune", { days, dry_run }));
  return html`<${Dialog} title="Remove old runs" close=${close}><form onSubmit=${(event) => event.preventDefault()}><label class="field">Runs that ended, older than (days)
    <input type="number" min="1" max="36500" value=${days} onInput=${(event) => (setDays(Number(event.target.value)), setCounted(null))} /></label></form>
    <p role="status">${counted && (counted.dry_run ? `${number(counted.runs)} runs with ${number(counted.events)} events would go, and files that nothing else needs.` : `Removed ${number(counted.runs)} runs, ${number(counted.events)} events and ${number(counted.files)} files.`)}</p>
    <p class="row">${counted?.dry_run && counted.runs > 0 ? html`<${Act} class="danger" key="go" run=${() => ask(false)}>Remove ${number(counted.runs)} runs for good<//>` : html`<${Act} key="count" run=${() => ask(true)}>Count them<//>`}</p><//>`;
}

const Prices = () => html`<section class="card"><h2>Prices</h2><p class="muted">As the catalogue of this server declares them: <code>@tool(price=…)</code>, or <code>catp tools bench</code> for local ones.</p>
  <${Loaded} of=${useData("settings/prices")} what="prices">${({ items }) => html`<${Table} caption="Declared prices" rows=${items.map((one) => ({ id: one.name, ...one }))} columns=${[{ key: "name", title: "Tool", cell: (row) => html`<${Link} to="tools/${row.name}">${row.name}<//>` }, { key: "price", title: "Price" }, { key: "version", title: "Version" }]} />`}<//></section>`;

function Audit({ query }) {
  return html`<section class="card"><h2>Changes</h2><${Loaded} of=${useData("audit", { cursor: query.get("audit"), limit: 20 })} what="changes">${({ items, next }) => html`${items.length ? html`<${Table} caption="Changes, the newest first" rows=${items}
    columns=${[{ key: "at", title: "When", cell: (row) => html`<${When} at=${row.at} />` }, { key: "actor", title: "Who" }, { key: "action", title: "What" }, { key: "target", title: "Of", cell: (row) => html`<bdi>${row.target}</bdi>` }, { key: "detail", title: "Detail", sort: false, cell: (row) => html`<code>${JSON.stringify(row.detail)}</code>` }]} />` : html`<p class="muted">Nothing was changed through this dashboard.</p>`}
    <p class="row">${query.get("audit") && html`<button type="button" onClick=${() => setQuery({ audit: null })}>Newest</button>`}${next && html`<button type="button" onClick=${() => setQuery({ audit: next })}>Older</button>`}</p>`}<//></section>`;
}
