// Price against quality: points with intervals, the front, lines of equal utility for a weight that can be moved.
import {html, useState} from "../vendor/vendor.js";
import {meta, setQuery, useData} from "../store.js";
import {Card, Empty, Figure, Link, Loaded, duration, number, usd} from "../parts/basics.js";
import {Entry, Pick, Tick, shown} from "../parts/bound.js";
import {columns, dollars} from "../parts/columns.js";
import {Plot} from "../parts/plot.js";
import {Twin} from "../parts/table.js";

const GROUPS = ["policy", "plan", ["tools", "set of tools"], "project", ["run", "single run"]];
const QUALITY = [["best", "measured, else predicted"], "measured", "predicted"];
const FRAME = ["cost_min", "cost_max", "quality_min", "quality_max"],
	OPEN = [0, Infinity, 0, 1];
const framed = ends => Object.fromEntries(FRAME.map((key, i) => [key, ends[i]]));
const asked = (...keys) => Object.fromEntries(keys.map(key => [key, shown(key)]));
const three = value => number(value, 3);
const TWIN = columns(
	"label:point|n:runs:n|cost.mean:mean cost:$|cost.lo:from:$?|cost.hi:to:$?|q:mean quality|quality.lo:from|quality.hi:to|" +
		"latency_p50:median time:ms|utility:utility|front:front|unpriced_runs:unpriced runs:n",
	{q: three, "quality.lo": three, "quality.hi": three, utility: three}
);

export default function Pareto() {
	const filter = asked("from", "to", "project", "policy"),
		found = useData("pareto", {...filter, ...asked("group", "quality")});
	return html`
		<h1>Pareto</h1>
		<section class="card row" aria-label="What is shown">
			<${Pick} of="group" label="One point per" options=${GROUPS} />
			<${Pick} of="quality" label="Quality" options=${QUALITY} />
			<${Entry} of="project" />
			<${Entry} of="policy" />
			<${Entry} of="from" type="date" />
			<${Entry} of="to" label="before" type="date" />
		</section>
		<${Loaded} of=${found} what="prices and qualities">${data =>
			data.points[0]
				? html`<${Plane} ...${{data, filter}} />`
				: html`<${Empty} title="No run can be placed yet" command="catp runs score RUN 0.9">
						<p>${data.note}</p>
					<//>`}<//>
	`;
}

function Plane({data, filter}) {
	const alpha = Number(shown("alpha", 0.8)),
		scale = Number(data.scale),
		frame = FRAME.map(key => shown(key)),
		some = frame.some(Boolean);
	const [c0, c1, q0, q1] = frame.map((end, i) => (end === "" ? OPEN[i] : Number(end)));
	const points = data.points.map(one => {
		const c = Number(one.cost.mean),
			q = one.quality.mean;
		return {...one, c, q, utility: alpha * q - ((1 - alpha) * c) / scale, out: c < c0 || c > c1 || q < q0 || q > q1};
	});
	const least = (list, of) => list.reduce((a, b) => (a && of(a) <= of(b) ? a : b), null),
		best = least(points, one => -one.utility);
	const cheap = least(
		points.filter(one => one.q >= Number(shown("q", 0.8))),
		one => one.c
	);
	return html`
		<${Card} title="Cost and quality">
			<div class="row">
				<${Entry} of="alpha" label="α" type="range" min="0" max="1" step="0.01" usual="0.8" live /> ${alpha.toFixed(2)}
				<span role="status">
					Best at this α: <strong><bdi>${best.label}</bdi></strong>, utility ${three(best.utility)}, ${number(best.n)} runs
				</span>
				<${Tick} of="log">logarithmic cost<//>
			</div>
			<${Twin} title="Mean cost and quality" columns=${TWIN} rows=${points} note=${data.note}>
				<${Chart} ...${{points, alpha, scale, log: !!shown("log"), best, filter, box: some && [c0, c1, q0, q1]}} />
			<//>
			<div class="row" role="group" aria-label="Frame">
				${FRAME.map(of => html`<${Entry} of=${of} type="number" step="any" min="0" class="short" />`)}
				${some && html`
					<span role="status">${points.filter(one => !one.out).length} of ${points.length} points inside</span>
					<${Link} to="runs" query=${{...filter, ...framed(frame)}}>Runs inside<//>
					<button onClick=${() => setQuery(framed([]))}>Clear</button>
				`}
			</div>
		<//>
		<${Card}>
			<dl class="figures">
				<${Figure} label="Scale" how=${meta.value.how.Scale}>${usd(data.scale)}<//>
				<${Figure} label="Cheapest of quality" how="Of the points whose mean quality reaches this.">
					<${Entry} of="q" label=${html`<span class="sr">least quality</span>`} type="number" min="0" max="1"
						step="0.05" usual="0.8" /> ${cheap
						? html`<bdi>${cheap.label}</bdi>, ${usd(cheap.cost.mean)}`
						: "no point reaches it"}
				<//>
			</dl>
		<//>
	`;
}

function Chart({points, alpha, scale, log, best, filter, box}) {
	const [drag, setDrag] = useState(null); // from [x, y] to [x, y] in pixels
	const costs = points
		.flatMap(one => [one.c, Number(one.cost.lo ?? one.c), Number(one.cost.hi ?? one.c)])
		.filter(c => !log || c > 0);
	const most = Math.max(...costs, 1e-9) * 1.1,
		low = log ? Math.min(...costs, most) / 1.1 : 0,
		within = share => Math.min(1, Math.max(0, share));
	const share = c => (log ? Math.log(Math.max(c, low) / low) / Math.log(most / low) : Math.min(c, most) / most),
		cost = at => (log ? low * (most / low) ** at : at * most);
	const slowest = Math.max(1, ...points.map(one => one.latency_p50 ?? 0)),
		steps = Array.from({length: 33}, (_, i) => cost(i / 32));
	const drawn = ({x: at, y}) => {
		const x = c => at(share(c));
		const equal = u =>
			alpha < 0.01
				? `M${x(-u * scale)} ${y(0)}V${y(1)}`
				: `M${steps.map(c => `${x(c)} ${y((u + ((1 - alpha) * c) / scale) / alpha)}`).join("L")}`;
		const stairs = points
			.filter(one => one.frontier)
			.map((one, i) => (i ? `H${x(one.c)}V${y(one.q)}` : `M${x(one.c)} ${y(one.q)}`))
			.join("");
		return html`
			<clipPath id="plane"><rect x=${at(0)} y=${y(1)} width=${at(1) - at(0)} height=${y(0) - y(1)} /></clipPath>
			<g clip-path="url(#plane)">
				${[0, 0.1, 0.2, 0.3].map(less => html`<path class="iso" d=${equal(best.utility - less)} />`)}
				<path class="front" d="${stairs}H${at(1)}" />
				${points.map(
					one =>
						one.n > 1 &&
						html`<path class="whisker ${one.frontier ? "" : "dim"}"
							d="M${x(Number(one.cost.lo))} ${y(one.q)}H${x(
								Number(one.cost.hi)
							)}M${x(one.c)} ${y(one.quality.lo)}V${y(one.quality.hi)}" />`
				)}
			</g>
		`;
	};
	const over = ({x: at, y}) => {
		const x = c => at(share(c)),
			ends =
				drag ??
				(box
					? [
							[x(box[0]), y(box[2])],
							[x(box[1]), y(box[3])]
						]
					: null);
		const [a, b] = ends?.map(([px]) => px).sort((p, q) => p - q) ?? [],
			[c, d] = ends?.map(([, py]) => py).sort((p, q) => p - q) ?? [];
		const spot = ({currentTarget: self, clientX, clientY}) => {
			const to = self.getBoundingClientRect();
			return [clientX - to.left, clientY - to.top];
		};
		const down = event => {
			if (event.button || event.pointerType !== "mouse" || event.target.closest("a")) return;
			event.preventDefault();
			event.currentTarget.setPointerCapture(event.pointerId);
			setDrag([spot(event), spot(event)]);
		};
		const up = () => {
			setDrag(null);
			if (!drag || b - a < 5 || d - c < 5) return;
			const money = px => Number(cost(within((px - at(0)) / (at(1) - at(0)))).toPrecision(4)),
				good = py => Number(within((y(0) - py) / (y(0) - y(1))).toFixed(3));
			setQuery(framed([money(a), money(b), good(d), good(c)]));
		};
		const keys = event => {
			const list = [...event.currentTarget.querySelectorAll("a")],
				step = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1}[event.key];
			if (step) (event.preventDefault(), list[list.indexOf(event.target) + step]?.focus());
		};
		return html`<div class="plane" role="group"
			aria-label="Points by cost; arrow keys go from one to the next, dragging draws a frame" onPointerDown=${down}
			onPointerMove=${event => drag && setDrag([drag[0], spot(event)])} onPointerUp=${up} onKeyDown=${keys}>
			${ends && html`<i style="left:${a}px;top:${c}px;width:${b - a}px;height:${d - c}px"></i>`}
			${points.map(
				one => html`
					<${Link} key=${one.key} to="runs" query=${{...filter, ...one.filter}} tabindex=${one === best ? 0 : -1}
						class="spot ${one.frontier ? "on" : ""} ${one === best ? "best" : ""} ${one.out ? "out" : ""}"
						style="left:${x(one.c)}px;top:${y(one.q)}px;--size:${Math.max(
							12,
							26 * Math.sqrt((one.latency_p50 ?? 0) / slowest)
						)}px">
						<span class="sr">
							${one.label}: cost ${usd(one.cost.mean)}, quality ${three(one.q)}, ${number(one.n)} runs, ${duration(one.latency_p50)}, ${one.front}
							${one === best ? ", best at this α" : ""}
						</span>
					<//>
					${points.length < 13 && html`<span aria-hidden="true"
						style="top:${y(one.q)}px;${share(one.c) > 0.5 ? "translate:-100% -1.5em;" : ""}left:${x(one.c)}px">${one.label}</span>`}
				`
			)}
		</div>`;
	};
	return html`<${Plot} says="Quality over cost, with the front and lines of equal utility" most=${1} unit=${String}
		height=${380} over=${over}
		names=${[0, 0.25, 0.5, 0.75, 1].map(at => [at, dollars(Number(cost(at).toPrecision(2)))])}>${drawn}<//>`;
}
