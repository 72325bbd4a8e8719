// Training runs: which there are, and of one its curves, its checkpoints against each other, its data and configuration.
import { html, useEffect } from "../vendor/vendor.js";
import { go, setQuery, useData } from "../store.js";
import { Choice, Empty, Figure, Link, Loaded, When, number } from "../parts/basics.js";
import { Series } from "../parts/series.js";
import { Table, Twin } from "../parts/table.js";

const STATES = { running: ["◐", "busy"], finished: ["✓", "good"], interrupted: ["⚡", "warn"], stopped: ["■", "warn"] };
const State = ({ of }) => html`<span class="status ${STATES[of][1]}"><span aria-hidden="true">${STATES[of][0]}</span> ${of}</span>`;
const figure = (value) => (value === null || value === undefined ? "–" : Math.abs(value) >= 1e4 ? number(value) : String(Number(value.toPrecision(4))));
const to = (name) => `training/${encodeURIComponent(name)}`;

export default function Page({ parts, query }) {
  const found = useData(parts[1] ? to(parts[1]) : "training");
  const busy = found.data?.state === "running" || found.data?.items?.some((one) => one.state === "running");
  useEffect(() => {
    const again = busy && setInterval(found.reload, 4000);
    return () => clearInterval(again);
  }, [busy]);
  return html`<h1>${parts[1] ?? "Training"}</h1><${Loaded} of=${found} what="training runs">${(data) => (parts[1] ? html`<${Run} run=${data} query=${query} />` : html`<${List} ...${data} />`)}<//>`;
}

function List({ items, folder }) {
  const columns = [
    { key: "name", title: "Run", cell: (row) => html`<${Link} to=${to(row.name)}>${row.name}<//>` }, { key: "state", title: "State", cell: (row) => html`<${State} of=${row.state} />` },
    { key: "step", title: "Step", num: true, cell: (row) => `${number(row.step)} of ${number(row.steps)}` },
    { key: "best", title: "Best regret", num: true, sort: (row) => row.best?.figures.regret, cell: (row) => figure(row.best?.figures.regret) },
    { key: "method", title: "Method", sort: (row) => row.summary["method.name"], cell: (row) => row.summary["method.name"] },
    { key: "lr", title: "Rate", num: true, sort: (row) => row.summary["optim.lr"], cell: (row) => row.summary["optim.lr"] },
    { key: "examples", title: "Examples", num: true, cell: (row) => number(row.examples) }, { key: "told", title: "Last told", cell: (row) => html`<${When} at=${row.told} />` },
  ];
  return html`${items.every((one) => one.shipped) && html`<${Empty} title="No training run of your own" command="catp train --config examples/train/smoke.toml --out ${folder ?? "runs"}/smoke"><p>Seconds on two cores. Looked for in <code>${folder ?? "runs"}</code>.</p><//>`}
    ${items.length > 0 && html`<section class="card"><${Table} caption="Training runs" rows=${items.map((one) => ({ id: one.name, ...one }))} columns=${columns} open=${(row) => go(to(row.name))} /></section>`}`;
}

function Run({ run, query }) {
  const lost = Object.entries(Object.assign({}, ...run.curves.map((one) => one.nan)));
  return html`<section class="card"><dl class="figures"><${Figure} label="State"><${State} of=${run.state} />${run.reason === "patience" && " (no better)"}<//><${Figure} label="Step">${number(run.step)} of ${number(run.steps)}<//>
      <${Figure} label="Best regret" how="Utility lost against the best measured plan, over the spread of utilities, on the validation side; lower is better.">${figure(run.best?.figures.regret)}${run.best && ` at step ${number(run.best.step)}`}<//>
      <${Figure} label="Examples">${number(run.examples)}<//><${Figure} label="Parameters">${number(run.parameters)}<//><${Figure} label="Device">${run.device ?? "–"}<//></dl>
      ${run.skipped > 0 && html`<p><span class="chip warn">${run.skipped} lines that cannot be read were left out</span></p>`}
      ${lost.map(([name, steps]) => html`<p><span class="chip bad">${name} was not a number at step ${steps.slice(0, 5).join(", ")}${steps.length > 5 ? " …" : ""}</span></p>`)}</section>
    <div class="grid">${run.curves.map((one) => html`<section class="card" key=${one.group}><${Series} title=${one.group} t=${one.step} time=${false} unit=${figure} cursor="training" height=${160}
      note=${one.points > one.step.length && `${number(one.step.length)} of ${number(one.points)} points; extremes are kept.`} lines=${one.series.map(({ name, values }) => ({ label: name.split("/").slice(1).join("/"), values }))} /></section>`)}
      <${Plane} points=${run.points} query=${query} /><${Mix} data=${run.data} /></div>
    ${run.checkpoints.length > 0 && html`<section class="card"><h2>Checkpoints</h2><${Table} caption="Checkpoints" rows=${run.checkpoints.map((one) => ({ id: one.place, ...one }))} columns=${[{ key: "place", title: "Kept as" },
      { key: "step", title: "Step", num: true }, { key: "regret", title: "Regret", num: true, sort: (row) => row.figures.regret, cell: (row) => figure(row.figures.regret) }, { key: "bytes", title: "Size", num: true, cell: (row) => `${number(row.bytes / 1e6, 1)} MB` }, { key: "written", title: "Written", cell: (row) => html`<${When} at=${row.written} />` }]} /></section>`}
    <section class="card"><details><summary>Configuration and model card</summary><pre tabindex="0">${Object.entries(run.card).map(([key, value]) => `# ${key}: ${JSON.stringify(value)}\n`)}${run.config}</pre></details></section>`;
}

const better = (name) => (/quality$|quality@|return|success/.test(name) ? 1 : -1); // of all other figures less is better

/** Evaluations on a plane of two figures, with those that no other beats in both. */
function Plane({ points, query }) {
  const names = [...new Set(points.flatMap((one) => Object.keys(one.figures)))].sort(), regrets = names.filter((name) => name.startsWith("regret@"));
  const pick = (key, wanted, otherwise) => (names.includes(query.get(key)) ? query.get(key) : (names.find((name) => name.startsWith(wanted)) ?? otherwise));
  const x = pick("x", "cost", regrets[0] ?? names[0]), y = pick("y", "quality@", regrets.at(-1) ?? names[0]);
  const known = points.map((one) => ({ id: one.step, best: one.best, x: one.figures[x], y: one.figures[y] })).filter((one) => Number.isFinite(one.x) && Number.isFinite(one.y));
  if (!known.length) return null;
  const beats = (a, b) => [["x", x], ["y", y]].every(([key, name]) => (a[key] - b[key]) * better(name) >= 0) && (a.x !== b.x || a.y !== b.y);
  for (const one of known) one.front = !known.some((other) => beats(other, one));
  const chosen = known.findLast((one) => one.best);
  const scale = (key, from, size) => ((all) => (value) => from + ((value - Math.min(...all)) / (Math.max(...all) - Math.min(...all) || 1)) * size)(known.map((one) => one[key]));
  const px = scale("x", 60, 300), py = scale("y", 190, -160), front = known.filter((one) => one.front).sort((a, b) => a.x - b.x);
  const axis = (key, name) => html`<${Choice} label=${key} value=${name} options=${names} pick=${(value) => setQuery({ [key]: value })} />`, ends = (key) => [Math.min(...known.map((one) => one[key])), Math.max(...known.map((one) => one[key]))];
  return html`<section class="card"><${Twin} title="Checkpoints against each other" tools=${html`<span class="row">${axis("x", x)}${axis("y", y)}</span>`} rows=${known}
    columns=${[{ key: "id", title: "step", num: true }, { key: "x", title: x, num: true, cell: (row) => figure(row.x) }, { key: "y", title: y, num: true, cell: (row) => figure(row.y) }, { key: "front", title: "on the frontier", cell: (row) => (row.front ? "yes" : "no") }, { key: "best", title: "kept as best", cell: (row) => (row === chosen ? "yes" : "") }]}
    note="The line joins those that no other beats in both; the ring is the one that was kept as best."><svg class="plane" viewBox="0 0 400 230" role="img" aria-label="${y} over ${x} of ${known.length} evaluations"><path d="M60 20V190H370" />
      <polyline points=${front.map((one) => `${px(one.x)},${py(one.y)}`).join(" ")} />${known.map((one) => html`<circle class=${one.front ? "front" : ""} cx=${px(one.x)} cy=${py(one.y)} r="4" /><text x=${px(one.x) + 7} y=${py(one.y) - 5}>${one.id}</text>${one === chosen && html`<circle class="ring" cx=${px(one.x)} cy=${py(one.y)} r="8" />`}`)}
      ${ends("x").map((value, i) => html`<text x=${60 + 300 * i} y="207" text-anchor="middle">${figure(value)}</text>`)}${ends("y").map((value, i) => html`<text x="54" y=${194 - 160 * i} text-anchor="end">${figure(value)}</text>`)}<text x="215" y="225" text-anchor="middle">${x}</text><text x="60" y="12">${y}</text></svg><//></section>`;
}

function Mix({ data: { files, asked, split } }) {
  if (!files.length) return null;
  const most = Math.max(1, ...files.map((one) => one.records ?? 0));
  return html`<section class="card"><${Twin} title="Data" rows=${files.map((one) => ({ id: one.name, ...one }))} columns=${[{ key: "name", title: "File" }, { key: "records", title: "Trajectories", num: true, cell: (row) => number(row.records) }, { key: "sha256", title: "SHA-256", cell: (row) => html`<code>${row.sha256.slice(0, 12)}…</code>` }]}
    note="Learned from ${(asked.paths ?? []).join(", ")}: ${Object.entries(split).map(([name, sides]) => `${name} ${sides.join(" and ") || "all"}`).join(", ")}.">
    <ul class="mix">${files.map((one) => html`<li><span>${one.name} <b class="num">${number(one.records)}</b></span><i style="width:${(100 * (one.records ?? 0)) / most}%"></i></li>`)}</ul><//></section>`;
}
