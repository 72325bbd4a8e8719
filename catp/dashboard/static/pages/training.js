// Training runs: which there are, and of one its curves, its checkpoints on a plane, its data and configuration.
import {html, useEffect} from "../vendor/vendor.js";
import {go, useData} from "../store.js";
import {Card, Empty, Figure, Link, Loaded, Sign, number, percent} from "../parts/basics.js";
import {Pick} from "../parts/bound.js";
import {columns} from "../parts/columns.js";
import {Plot} from "../parts/plot.js";
import {Series} from "../parts/series.js";
import {Table, Twin} from "../parts/table.js";

const STATES = {running: "◐ busy", finished: "✓ good", interrupted: "⚡ warn", stopped: "■ warn"};
const state = of => html`<${Sign} of=${STATES[of]}>${of}<//>`;
const figure = value => value?.toLocaleString("en", {notation: "compact", maximumSignificantDigits: 4}) ?? "–";
const share = of => html`<meter value=${of ?? 0} aria-label="share" /> ${percent(of)}`;
const to = name => `training/${encodeURIComponent(name)}`;
const CELLS = {
	state,
	name: name => html`<${Link} to=${to(name)}>${name}<//>`,
	x: figure,
	y: figure,
	share,
	"best.figures.regret": figure,
	"figures.regret": figure,
	"summary.lr": figure
};
const RUNS =
	"name:run|state:state|step:step:n|steps:of:n|best.figures.regret:best regret:n|" +
	"summary.method:method|summary.lr:rate:n|examples:examples:n|told:last told:at";
const Rows = ({title, text, ...rest}) => html`<${Card} title=${title}>
	<${Table} caption=${title} columns=${columns(text, CELLS)} ...${rest} />
<//>`;

export default function Page({parts, query}) {
	const found = useData(parts[1] ? to(parts[1]) : "training", {x: query.get("x"), y: query.get("y")});
	const busy = [found.data, ...(found.data?.items ?? [])].some(one => one?.state === "running");
	useEffect(() => {
		const again = busy && setInterval(found.reload, 4000);
		return () => clearInterval(again);
	}, [busy]);
	return html`
		<h1>${parts[1] ?? "Training"}</h1>
		<${Loaded} of=${found} what="training">${data =>
			data.items ? html`<${List} ...${data} />` : html`<${Run} run=${data} />`}<//>
	`;
}

const List = ({items, folder}) => html`
	${items.every(one => one.shipped) && html`<${Empty} title="No training run of your own"
		command="catp train --config examples/train/smoke.toml --out ${folder ?? "runs"}/smoke">
		<p>Looked for in <code>${folder ?? "runs"}</code>.</p>
	<//>`}
	<${Rows} title="Runs" rows=${items} open=${row => go(to(row.name))} text=${RUNS} />
`;

function Run({run}) {
	return html`
		<${Card}>
			<dl class="figures">
				<${Figure} label="State">${state(run.state)}<//>
				<${Figure} label="Step">${number(run.step)} of ${number(run.steps)}<//>
				<${Figure} label="Best regret" how=${run.how}>
					${figure(run.best?.figures.regret)} at step ${number(run.best?.step)}
				<//>
				<${Figure} label="Examples">${number(run.examples)}<//>
				<${Figure} label="Parameters">${number(run.parameters)}<//>
				<${Figure} label="Device">${run.device ?? "–"}<//>
			</dl>
			${run.skipped > 0 && html`<p class="chip warn">${run.skipped} lines that cannot be read are left out</p>`}
		<//>
		<h2 class="sr">Curves</h2>
		<div class="grid">
			${run.curves.map(
				({group, step, series, note}) => html`<${Card} key=${group}>
					<${Series} title=${group} t=${step} time=${false} unit=${figure} cursor="training" height=${150}
						lines=${series.map(({name, values}) => ({label: name.slice(group.indexOf("/") + 1), values}))} note=${note} />
				<//>`
			)}
			<${Plane} of=${run.plane} />
		</div>
		<${Rows} title="Checkpoints" rows=${run.checkpoints}
			text="place:kept as|step:step:n|figures.regret:regret:n|bytes:bytes:n|written:written:at" />
		<${Rows} title="Data" rows=${run.data.files} text="file:file|records:trajectories:n|share:share:%|sha256:SHA-256" />
		<${Card}>
			<details>
				<summary>Configuration and model card</summary>
				<pre tabindex="0">${JSON.stringify(run.card, null, 1)}${"\n"}${run.config}</pre>
			</details>
		<//>
	`;
}

/** Evaluations on a plane of two figures; the line joins those that no other beats in both. */
function Plane({of: {x, y, names, points}}) {
	const rows = points.map(one => ({...one, id: one.step, on: one.front && "yes"}));
	const [xs, ys] = ["x", "y"].map(key => points.map(one => one[key]));
	if (!rows.length) return null;
	const low = Math.min(...xs),
		wide = Math.max(...xs) - low || 1,
		share = value => 0.05 + (0.9 * (value - low)) / wide;
	return html`<${Card}>
		<${Twin} title="Checkpoints against each other"
			tools=${[["x", x], ["y", y]].map(
				([of, usual]) => html`<${Pick} options=${names} label=${of} ...${{of, usual}} />`
			)}
			rows=${rows} columns=${columns(`id:step:n|x:${x}:n|y:${y}:n|on:on the frontier`, CELLS)}
			note="Numbers are steps; the ring was kept as best.">
			<${Plot} says="${y} over ${x} of ${rows.length} evaluations" least=${Math.min(...ys)} most=${Math.max(...ys)}
				unit=${figure} names=${[0, 0.5, 1].map(at => [0.05 + 0.9 * at, figure(low + wide * at)])}>${at => {
				const place = one => [at.x(share(one.x)), at.y(one.y)];
				return html`
					<polyline class="front"
						points=${rows
							.filter(one => one.front)
							.sort((a, b) => a.x - b.x)
							.map(place)
							.join(" ")} />
					${rows.map(one => {
						const [cx, cy] = place(one);
						return html`
							<circle class="dot" cx=${cx} cy=${cy} r=${one.best ? 7 : 4} />
							<text x=${cx + 9} y=${cy + 4}>${one.id}</text>
						`;
					})}
				`;
			}}<//>
		<//>
	<//>`;
}
