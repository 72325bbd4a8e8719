// The boxes of a graph: inputs and outputs, steps, closed groups.
import {html} from "../vendor/vendor.js";
import {duration, stateOf, usd} from "./basics.js";

export const OVER = ["ok", "failed", "skipped", "refused", "poisoned", "cancelled"];
const WORST = ["failed", "refused", "lost", "waiting_approval", "running", "ready", "cancelled", "poisoned"];

/** A closed group as one node: the worst state, sums of money, the time from its first start to its last end. */
export function sum(box, known) {
	const all = box.steps.map(id => known[id]).filter(Boolean);
	if (!all.length) return undefined;
	const total = (list, of) =>
		list.length && list.every(node => of(node) != null)
			? list.reduce((so, node) => so + Number(of(node)), 0).toFixed(9)
			: null;
	const done = all.filter(node => OVER.includes(node.status)).length;
	const begun = all.filter(node => node.actual?.start_ms != null).map(node => node.actual);
	return {
		status:
			all[0].status &&
			(WORST.find(state => all.some(node => node.status === state)) ??
				(done === all.length ? "ok" : done ? "running" : "pending")),
		done,
		size: all.length,
		critical: all.some(node => node.critical),
		est: {cost: {p50: total(all, node => node.est?.cost?.p50)}},
		actual: {
			cost: total(begun, one => one.cost ?? (one.unpriced ? null : 0)),
			ms: begun.length
				? Math.max(...begun.map(one => one.end_ms ?? one.start_ms)) - Math.min(...begun.map(one => one.start_ms))
				: null
		},
		slack_ms: Math.min(...all.map(node => node.slack_ms ?? 0))
	};
}

/** How much of what the colour shows. */
export const heat = (colour, node) =>
	({
		cost: Number(node?.actual?.cost ?? node?.est?.cost?.p50),
		latency: node?.actual?.ms ?? node?.est?.ms?.p50,
		slack: node?.slack_ms
	})[colour] || 0;

/** [what a box has room for, what is said]: "$0.015 +3 %", "$0.015, estimated $0.0146". */
function both(est, actual, text) {
	if (actual == null) return est == null ? ["", ""] : [`≈ ${text(est)}`, `about ${text(est)}`];
	const off = Math.round((actual / est - 1) * 100);
	return [
		text(actual) + (est > 0 && off ? ` ${off > 0 ? "+" : "−"}${Math.abs(off)} %` : ""),
		text(actual) + (est == null ? "" : `, estimated ${text(est)}`)
	];
}
const place = ({at: [x, y, w, h]}) => `left:${x}px;top:${y}px;width:${w}px;height:${h}px`;
const Chip = ({label}) => label && html`<span class="chip ${label.kind}">${label.text}</span>`;

export const Port = ({box, label}) => html`<div class="graph-box port" style=${place(box)}
	title=${box.of.lines?.join("\n")}>
	<b><bdi>${box.of.title}</bdi></b>
	<span class="muted">${box.of.kind}</span>
	<${Chip} label=${label} />
</div>`;

export function Step({box, node, colour, most, label, on, tab}) {
	const {of, group} = box;
	const {status, est, actual, slack_ms, critical} = node ?? {};
	const [shape, word, tone] = status ? stateOf(status, node.cached) : ["", "", ""];
	const tool = group ? (group.what ?? "") : (node?.tool ?? of.tools?.[0] ?? "");
	const [cost, price] =
		actual?.unpriced && actual.cost == null ? ["unpriced", ""] : both(est?.cost?.p50, actual?.cost, usd);
	const [ms, time] = both(est?.ms?.p50, actual?.ms, duration);
	const slack = critical ? "no slack" : slack_ms > 0 ? `slack ${duration(slack_ms)}` : "";
	const queue = actual?.queue_ms > Math.max(50, (actual?.ms ?? 0) / 10) && `queued ${duration(actual.queue_ms)}`;
	const others = (of.tools?.length ?? 1) - 1;
	const marks = [
		group ? `${group.members} steps` : of.mapped && `×${node?.elements ?? "n"}`,
		of.guard && "◇ when",
		others > 0 && `+${others} alt`,
		queue && "waited"
	];
	const figure = colour === "slack" ? slack : ms;
	const says = [
		of.title,
		tool,
		group && `group of ${group.members} steps`,
		of.mapped && `once per element, ${marks[0]}`,
		group && status ? `${node.done} of ${node.size} done, ${word}` : word,
		label?.text,
		price ? `cost ${price}` : cost,
		time && `time ${time}`,
		!critical && slack,
		queue,
		of.guard,
		others > 0 && `${others} alternatives`,
		critical && "on the critical path"
	]
		.filter(Boolean)
		.join(", ");
	return html`<button class="graph-box step ${tone && `t-${tone}`} ${critical ? "hot" : ""} ${group
			? "group"
			: ""} ${of.mapped ? "many" : ""} ${of.guard ? "maybe" : ""}"
		style=${place(box)} data-id=${box.id} tabindex=${tab ? 0 : -1} aria-label=${says} aria-expanded=${group && "false"}
		aria-current=${on ? "true" : undefined} title=${[says, ...(of.lines ?? []), of.notes].filter(Boolean).join("\n")}>
		<span class="graph-line">
			<b><bdi>${of.title}</bdi></b>
			<${Chip} label=${label} />
			${marks.filter(Boolean).map(mark => html`<small>${mark}</small>`)}
		</span>
		<span class="graph-line">
			<span class="muted"><bdi>${tool}</bdi></span>
			<span class=${tone}>${shape} ${group && status ? `${node.done}/${node.size}` : word}</span>
		</span>
		<span class="graph-line num"><span>${cost}</span><span>${figure}</span></span>
		${most > 0 && html`<i class="heat" style="width:${Math.round((100 * heat(colour, node)) / most)}%"></i>`}
	</button>`;
}
