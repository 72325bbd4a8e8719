// The answer in thirty seconds: what was spent, what went well, what went wrong, what waits for me.
import { html, useEffect, useRef } from "../vendor/vendor.js";
import { send } from "../api.js";
import { go, may, setQuery, useData, useEvents } from "../store.js";
import { Act, Choice, Command, Figure, Link, Loaded, Status, When, duration, number, percent, usd } from "../parts/basics.js";
import { Table, Twin } from "../parts/table.js";

export default function Overview({ query }) {
  const span = query.get("window") ?? "24h";
  const found = useData("overview", { window: span });
  const due = useRef(0);
  const event = () => (due.current ||= setTimeout(() => ((due.current = 0), found.reload()), 1000)); // once a second is enough
  useEvents("runs", { event, resync: event }, [span]);
  useEffect(() => () => clearTimeout(due.current), []);
  return html`<${Loaded} of=${found} what="the overview">${(seen) => (seen.empty ? html`<${Guide} />` : html`<${Seen} ...${{ seen, span }} />`)}<//>`;
}

const score = (value) => number(value, 2), price = (amount) => (amount === null ? "–" : usd(amount));

function Seen({ seen, span }) {
  const { spend, compared: c, deadlines, runs, from } = seen, { month } = spend;
  const figure = (label, how, { now, before }, show, up, small) => html`<${Figure} ...${{ label, how }}>${show(now)} <${Delta} ...${{ now, before, show, up }} /><br /><small class="muted">${small}</small><//>`;
  return html`<div class="row apart"><h1>Overview</h1><${Choice} label="Period" value=${span} options=${[["24h", "24 hours"], ["7d", "7 days"], ["30d", "30 days"]]} pick=${(value) => setQuery({ window: value === "24h" ? null : value })} /></div>
    ${seen.needs_you.length > 0 && html`<section class="card needs" aria-label="Needs you"><h2><span aria-hidden="true">⚑</span> Needs you</h2><ul class="plain">${seen.needs_you.map((one) => html`<li>${NEEDS[one.kind](one)}</li>`)}</ul></section>`}
    <section class="card" aria-label="Figures"><dl class="figures">
      ${figure("Spent", "Ledger rows of calls that started in the period; those without a price are in no sum.", { now: spend.amount, before: spend.before }, usd, 0, html`${usd(spend.today)} today (UTC)${spend.unpriced > 0 && html` <span class="chip warn">+ ${spend.unpriced} unpriced</span>`}`)}
      ${figure("This month", "In UTC. The forecast draws each coming day from those of the last four weeks, 1,000 times.", { now: month.spent, before: null }, usd, 0,
        month.forecast ? `ends at ${usd(month.forecast.p50)}, p90 ${usd(month.forecast.p90)}` : month.at_least ? `ends at ${usd(month.at_least)} or more: ${month.unpriced} unpriced` : "no forecast yet")}
      ${figure("Success rate", "Complete runs among complete, degraded and failed ones.", c.success, percent, 1, `of ${number(c.success.n)} that ended`)}
      ${figure("Quality", "Mean of the scores that people or judges gave.", c.quality, score, 1, `${number(c.quality.n)} scored; predicted ${score(c.predicted_quality.now)}`)}
      ${figure("Cost of a run", "Mean over runs that ended and whose calls all have a price.", c.mean_cost, price, -1, "mean")}
      ${figure("Time of a run", "Half of the runs that ended took no longer (p50).", c.p50_ms, duration, -1, `p95 ${duration(c.p95_ms.now)}`)}
      ${figure("Deadlines met", "Complete in time, among ended runs with a deadline.", { now: deadlines.share, before: deadlines.before }, percent, 1, `${deadlines.met} of ${deadlines.with}`)}
    </dl></section>
    <div class="grid"><section class="card" aria-label="Runs by state"><h2><${Link} to="runs" query=${{ from }}>${number(Object.values(runs).reduce((sum, n) => sum + n, 0))} runs<//></h2>
        <ul class="plain">${Object.entries(runs).map(([status, n]) => html`<li class="row apart"><${Link} to="runs" query=${{ status, from }}><${Status} status=${status} /><//><span class="num">${number(n)}</span></li>`)}</ul></section>
      <section class="card" aria-label="Spending"><${Bars} days=${spend.days} /></section>
      ${seen.budgets.length > 0 && html`<section class="card" aria-label="Budgets"><h2><${Link} to="spend">Budgets<//></h2><ul class="plain">${seen.budgets.map(({ title, spent, limit, share, state }) => html`<li><div class="row apart"><bdi>${title}</bdi><span class="num ${state === "ok" ? "" : "warn"}">${state !== "ok" && "▲ "}${usd(spent)} of ${usd(limit)} · ${percent(share)}</span></div>
        <div class="level" aria-hidden="true"><i style="width:${Math.min(100, share * 100)}%"></i></div></li>`)}</ul></section>`}</div>
    <section class="card" aria-label="Failures"><h2>What failed most</h2>${seen.failures.length ? html`<${Table} caption="Failures" columns=${CAUSES} rows=${seen.failures.map((one, id) => ({ id, ...one }))} />` : html`<p class="good">✓ No call failed, no step was refused.</p>`}</section>`;
}

const toTool = (tool) => (tool ? html`<${Link} to="tools/${tool}"><bdi>${tool}</bdi><//>` : "–");
const CAUSES = [
  { key: "type", title: "cause" }, { key: "tool", title: "tool", cell: (row) => toTool(row.tool) }, { key: "count", title: "times", num: true }, { key: "runs", title: "runs", num: true },
  { key: "reason", title: "for example", cell: (row) => html`<${Link} to="runs/${row.sample_run}"><bdi>${row.reason ?? row.sample_run}</bdi><//>` },
];
const NEEDS = {
  approval: ({ run, node, cap, requested }) => html`<${Link} to="runs/${run}">${node === null ? "A plan" : html`Step <bdi>${node}</bdi>`} waits for approval<//>${cap !== null && ` of up to ${usd(cap)}`}, since <${When} at=${requested} />`,
  budget: ({ title, share, limit, runs_out: out }) => html`<${Link} to="spend"><bdi>${title}</bdi> is ${percent(share)} spent<//> of ${usd(limit)}${out?.p50 && `; it runs out on ${out.p50}`}`,
  unpriced: ({ tool, rows }) => html`${toTool(tool)} has no price: ${number(rows)} calls are in no sum`,
  interrupted: ({ run, task, created }) => html`<${Link} to="runs/${run}"><bdi>${task}</bdi><//> was interrupted; begun <${When} at=${created} />`,
};

/** What changed: an arrow, words, and whether it is good (up: 1 more is better, -1 less is, 0 neither). */
function Delta({ now, before, show, up }) {
  const by = Number(now) - Number(before);
  if (now === null || before === null || !by) return null;
  const [colour, word] = by * up > 0 ? ["good", ", better"] : by * up < 0 ? ["bad", ", worse"] : ["muted", ""];
  return html`<small class=${colour}><span aria-hidden="true">${by > 0 ? "▲" : "▼"}</span><span class="sr">${by > 0 ? "up" : "down"}${word}</span> from ${show(before)}</small>`;
}

function Bars({ days }) {
  const most = Math.max(...days.map((one) => Number(one.amount)), 1e-9), wide = 100 / days.length;
  const columns = [{ key: "id", title: "day (UTC)" }, { key: "amount", title: "spent", num: true, cell: (row) => usd(row.amount) }];
  return html`<${Twin} title="Spent by day" columns=${columns} rows=${days.map((one) => ({ id: one.day, ...one }))}><svg class="bars" viewBox="0 0 100 40" preserveAspectRatio="none" role="img" aria-label="Spent on each of ${days.length} days">${days.map(({ day, amount }, i) => {
    const high = (39 * Number(amount)) / most;
    return html`<rect x=${(i + 0.12) * wide} width=${wide * 0.76} y=${40 - high} height=${high}><title>${day}: ${usd(amount)}</title></rect>`;
  })}</svg><div class="row apart muted"><small>${days[0].day}</small><small>most ${usd(most)}</small><small>today</small></div><//>`;
}

/** A store without runs: how to make some, and two buttons that do it. */
const Guide = () => html`<h1>Welcome</h1><p>There are no runs in this store yet. They appear here as soon as there are some.</p>
  <ol class="guide"><li class="card"><h2>Install the tools</h2><${Command} text="pip install 'catp[tools]'" /></li>
    <li class="card"><h2>Run a task</h2><${Command} text='catp run "tell me the language of this text" -i text="Guten Tag, wie geht es dir heute?"' /></li>
    <li class="card"><h2>Or use your own agent</h2><${Command} text=${'from catp import Agent\n\nagent = Agent(budget="0.01", store="runs.db")\nresult = agent.run_sync("read this page", {"page": image})'} /></li></ol>
  ${may("admin") && html`<section class="card" aria-label="Demo"><h2>Or look around first</h2><p>Nothing is paid: the demo’s tools only play their prices.</p><div class="row"><${Act} class="first" run=${() => send("POST", "demo")}>Load demo data<//>
    <${Act} run=${async () => go(`runs/${(await send("POST", "demo/live")).run}`)}>Watch a demo run<//></div></section>`}`;
