// Where the boxes and edges of a plan are, and where keys lead from one.

/** {boxes, edges, byId, holder}: `holder` has the box of every step, its own or that of its group. */
export function index(layout, plan) {
	const axis = layout.dir === "TB" ? 0 : 1; // along which boxes of one rank lie
	const said = new Map(plan.nodes.map(one => [one.id, one]));
	const groups = (layout.groups ?? []).filter(group => group.box);
	const boxes = [
		...Object.entries(layout.nodes).map(([id, at]) => ({
			id,
			at,
			of: said.get(id) ?? {title: id, kind: "step"},
			steps: [id]
		})),
		...groups.map(group => ({id: group.id, at: group.box, of: group, group, steps: group.steps}))
	];
	for (const box of boxes) {
		const middle = i => box.at[i] + box.at[i + 2] / 2;
		box.walk = !!box.group || box.of.kind === "step"; // inputs and outputs cannot be chosen
		box.rank = Math.round(middle(1 - axis));
		box.place = middle(axis);
	}
	boxes.sort((a, b) => a.rank - b.rank || a.place - b.place);
	const order = new Set((plan.edges ?? []).filter(edge => edge.order).map(edge => `${edge.from} ${edge.to}`));
	const edges = layout.edges.map(({from, to, points}) => ({
		id: `${from} ${to}`,
		from,
		to,
		d: curve(points, axis),
		order: order.has(`${from} ${to}`)
	}));
	return {
		boxes,
		edges,
		byId: new Map(boxes.map(box => [box.id, box])),
		holder: new Map(boxes.flatMap(box => box.steps.map(id => [id, box.id])))
	};
}

/** Lines along the flow, S-curves between ranks, and a head. */
function curve([[x, y], ...points], axis) {
	let d = `M${x} ${y}`;
	for (const [u, v] of points) {
		const a = (x + u) / 2,
			b = (y + v) / 2;
		d += x === u || y === v ? `L${u} ${v}` : axis ? `C${a} ${y} ${a} ${v} ${u} ${v}` : `C${x} ${b} ${u} ${b} ${u} ${v}`;
		[x, y] = [u, v];
	}
	return (
		d + (axis ? `M${x - 6} ${y - 4}L${x} ${y}L${x - 6} ${y + 4}` : `M${x - 4} ${y - 6}L${x} ${y}L${x + 4} ${y - 6}`)
	);
}

/** The id of the box a key leads to: the nearest at the other end of an edge, or the next of the same rank. */
export function neighbour(map, box, key, dir, walk) {
	const along = dir === "TB" ? ["ArrowUp", "ArrowDown"] : ["ArrowLeft", "ArrowRight"];
	if (!along.includes(key)) {
		const row = walk.filter(one => one.rank === box.rank);
		return row[row.indexOf(box) + (key === "ArrowDown" || key === "ArrowRight" ? 1 : -1)]?.id;
	}
	const [here, there] = key === along[1] ? ["from", "to"] : ["to", "from"];
	const ends = map.edges
		.filter(edge => edge[here] === box.id)
		.map(edge => map.byId.get(edge[there]))
		.filter(one => walk.includes(one));
	return ends.sort((a, b) => Math.abs(a.place - box.place) - Math.abs(b.place - box.place))[0]?.id;
}
