// A plan as a graph: real buttons over an SVG of lines. Its user fetches the layout and owns the state.
//   layout    plans/HASH/layout?dir=&open=; fetch it when these change, never on an event
//   plan      plans/HASH
//   nodes     {id: NODE} as of runs/ID, or null; parts may be missing. Only boxes of new objects are drawn anew
//   selected, select(id)   the step shown in detail
//   colour    "status" | "cost" | "latency" | "slack"
//   critical  the critical path only
//   toggle(group)          setQuery({open: toggled(open, group)}), then the layout anew
//   labels    {id: {text, kind: "good" | "bad" | "warn" | "busy" | ""}}: one more chip on a box
//   title     its name
import {html, useEffect, useMemo, useRef, useState} from "../vendor/vendor.js";
import {OVER, Port, Step, heat, sum} from "./graphbox.js";
import {index, neighbour} from "./graphmap.js";
import {LEAST, useView} from "./graphview.js";

/** The open groups, as the address has them, after one more was opened or closed. */
export const toggled = (open, id) => {
	const now = (open || "").split(",").filter(Boolean);
	return (now.includes(id) ? now.filter(one => one !== id) : [...now, id]).slice(-20).join(",");
};

export function Graph({
	layout,
	plan,
	nodes,
	selected,
	select,
	colour = "status",
	critical,
	toggle,
	labels = {},
	title = "plan"
}) {
	const map = useMemo(() => index(layout, plan), [layout, plan]),
		look = useView(layout),
		{view, zoom} = look;
	const opened = useRef(null); // the group that was opened last: its first step is focused
	const [focus, setFocus] = useState(null);
	const hot = hotOf(plan, nodes, map);
	const shown = critical ? map.boxes.filter(box => hot.includes(box.id)) : map.boxes;
	const visible = new Set(shown.map(box => box.id)),
		walk = shown.filter(box => box.walk),
		at = map.holder.get(selected);
	const first = visible.has(focus) ? focus : visible.has(at) ? at : walk[0]?.id;
	const drawn = useDrawn({map, nodes, hot, shown, visible, colour, labels, at, first});
	const element = id => view.current.querySelector(`[data-id="${CSS.escape(id)}"]`);

	useEffect(() => {
		const box = map.byId.get(at ?? walk[0]?.id);
		if (box && !view.current.contains(document.activeElement)) look.reveal(box.at);
	}, [at, layout.hash, layout.dir, zoom]);
	useEffect(() => {
		const group = layout.groups?.find(one => one.id === opened.current && !one.closed);
		if (!group) return;
		opened.current = null;
		element(map.holder.get(group.steps[0]))?.focus();
	}, [layout]);

	const move = id => id && (setFocus(id), element(id).focus());
	const keys = event => {
		if (event.ctrlKey || event.metaKey || event.altKey) return;
		const {key} = event,
			box = map.byId.get(event.target.dataset.id);
		const act =
			{
				"+": () => look.zoomBy(1.25),
				"-": () => look.zoomBy(0.8),
				0: () => look.fit(LEAST),
				Home: () => move(walk[0]?.id),
				End: () => move(walk.at(-1)?.id)
			}[key] ??
			(box && key.startsWith("Arrow") && (() => move(neighbour(map, box, key, layout.dir, walk))));
		if (!act) return;
		event.preventDefault();
		act();
	};
	const click = ({target}) => {
		const box = map.byId.get(target.closest("[data-id]")?.dataset.id);
		if (box?.group) toggle?.((opened.current = box.id));
		else if (box) select?.(box.id);
	};
	const count = plan.nodes.filter(one => one.kind === "step").length;
	const name = `${title}, graph of ${count} steps; arrow keys move along its edges`;
	return html`<div class="graph">
		<${Tools} ...${{layout, look, toggle}}>${layout.capped && html`<span class="muted">
			${count} steps in ${map.boxes.length} boxes; open a group to see into it
		</span>`}<//>
		<div class="graph-view" ref=${view} role="group" aria-label=${name} onClick=${click} onKeyDown=${keys}
			onFocusIn=${event => setFocus(event.target.dataset.id ?? focus)} ...${look.hand}>
			<${Sheet} ...${layout} zoom=${zoom}>${drawn}<//>
		</div>
	</div>`;
}

const Tools = ({
	layout: {groups = []},
	look: {zoom, zoomBy, fit},
	toggle,
	children
}) => html`<div class="row graph-tools">
	<button onClick=${() => zoomBy(0.8)} aria-label="Zoom out" title="key −">−</button>
	<span class="num">${Math.round(zoom * 100)} %</span>
	<button onClick=${() => zoomBy(1.25)} aria-label="Zoom in" title="key +">+</button>
	<button onClick=${() => fit(LEAST)} title="key 0">Fit</button>
	${groups
		.filter(group => !group.closed)
		.map(
			({id, title}) => html`<button key=${id} class="quiet" aria-expanded="true" aria-label="${title}, close"
				onClick=${() => toggle?.(id)}>
				▾ ${title}
			</button>`
		)}
	${children}
</div>`;

const Sheet = ({w, h, zoom, children: {lines, boxes}}) => html`<div class="graph-size"
	style="width:${w * zoom}px;height:${h * zoom}px;--w:${w};--h:${h}">
	<div class="graph-sheet" style="width:${w}px;height:${h}px;transform:scale(${zoom})">
		<svg width=${w} height=${h} aria-hidden="true">${lines}</svg>
		${boxes}
	</div>
</div>`;

/** Boxes along the critical path, in the order of the plan. */
const hotOf = (plan, nodes, map) =>
	plan.nodes.filter(one => nodes?.[one.id]?.critical).map(one => map.holder.get(one.id));

/** {lines, boxes}: what has not changed is the same object as before, so that the renderer skips it. */
function useDrawn({map, nodes, hot, shown, visible, colour, labels, at, first}) {
	const drawn = useRef(new Map()),
		known = nodes ?? {};
	const keep = (id, needs, make) => {
		const old = drawn.current.get(id);
		if (old && needs.every((one, i) => one === old.needs[i])) return old.made;
		drawn.current.set(id, {needs, made: make()});
		return drawn.current.get(id).made;
	};
	const path = new Set(hot.slice(1).map((id, i) => `${hot[i]} ${id}`));
	const facts = new Map(shown.map(box => [box.id, box.group ? sum(box, known) : known[box.id]]));
	const most = Math.max(0, ...[...facts.values()].map(node => heat(colour, node)));
	const lit = box => nodes && box.steps.every(id => OVER.includes(known[id]?.status) || id.startsWith("in:"));
	const lines = map.edges
		.filter(edge => visible.has(edge.from) && visible.has(edge.to))
		.map(edge => {
			const kind = [lit(map.byId.get(edge.from)) && "lit", path.has(edge.id) && "hot", edge.order && "order"]
				.filter(Boolean)
				.join(" ");
			return keep(edge.id, [edge, kind], () => html`<path key=${edge.id} class=${kind} d=${edge.d} />`);
		});
	const boxes = shown.map(box => {
		const {id, group, walk} = box,
			node = facts.get(id),
			label = labels[id],
			on = at === id,
			tab = first === id;
		const state = group ? JSON.stringify(node) : node; // a sum is a new object each time
		return keep(
			id,
			[box, state, colour, most, label?.text, label?.kind, on, tab],
			() => html`<${walk ? Step : Port} key=${id} ...${{box, node, colour, most, label, on, tab}} />`
		);
	});
	return {lines, boxes};
}
