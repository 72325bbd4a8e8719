// A run as it goes on: fetched once, moved by events; what only the server knows (money, slack) is asked now and then.
import {signal} from "../vendor/vendor.js";
import {get} from "../api.js";
import {listen} from "../store.js";

const MOVES = {
	ready: "ready", awaiting_approval: "waiting_approval", finished: "ok", failed: "failed", skipped: "skipped",
	refused: "refused", poisoned: "poisoned", cancelled: "cancelled"
};
const ANEW = /^run\.(created|resumed|replanned|waiting|finished)/;
export const OVER = new Set(["ok", "failed", "skipped", "refused", "poisoned", "cancelled"]);

/**
 * Signals {run, nodes, ids, now, error}, functions {reload, close}. `nodes` {id: NODE} is a new map with new objects
 * for those that changed; `now` is in ms from the start, null unless it runs.
 */
export function followRun(id) {
	const run = signal(null),
		nodes = signal({}),
		ids = signal([]),
		error = signal(null),
		now = signal(null);
	const live = () => ["running", "stopping"].includes(run.peek()?.status),
		large = () => ids.peek().length > 300;
	let zero = 0; // when the run began by this page's own clock: that of the server may be another
	let moved = {},
		seen = {},
		flush,
		waits,
		busy = false,
		asked = 0,
		closed = false,
		hear;

	const take = ({nodes: _, times: __, ...rest}) => {
		zero = performance.now() - rest.now_ms;
		now.value = rest.now_ms;
		run.value = rest;
		error.value = null;
	};
	const ask = (path, use) => {
		clearTimeout(waits);
		if (closed) return;
		if (busy) return void (waits = setTimeout(ask, 200, path, use)); // answers must not overtake each other
		busy = true;
		asked = performance.now();
		waits = null;
		get(path)
			.then(
				found => closed || use(found),
				problem => (run.peek() ? live() && soon(3000) : (error.value = problem))
			)
			.finally(() => (busy = false));
	};
	const reload = () =>
		ask(`runs/${id}`, found => {
			moved = {};
			nodes.value = Object.fromEntries(found.nodes.map(node => [node.id, node]));
			ids.value = found.nodes.map(node => node.id);
			take(found);
			hear ??= listen(`run:${found.id}`, {event, resync: reload, after: found.last_event_id});
		});
	const figures = () =>
		ask(`runs/${id}/figures?since=${run.peek().last_seq}`, found => {
			const next = {...nodes.peek()},
				path = new Set(found.critical_path),
				least = (found.ends_ms ?? 0) / 100; // what nobody would see is no shift
			const shifted = (a, b) => (a === null) !== (b === null) || Math.abs(a - b) > least;
			for (const [name, [slack_ms, starts_ms]] of Object.entries(found.times)) {
				const node = next[name],
					critical = path.has(name);
				if (!node) return reload();
				if (critical !== node.critical || shifted(node.slack_ms, slack_ms) || shifted(node.starts_ms, starts_ms))
					next[name] = {...node, slack_ms, starts_ms, critical};
			}
			for (const node of found.nodes) {
				if (seen[node.id] > found.last_seq) continue; // events have told more since
				next[node.id] = node;
				delete moved[node.id];
			}
			nodes.value = next;
			take(found);
		});
	const soon = (wait = large() ? 3000 : 1000) =>
		(waits ??= setTimeout(figures, Math.max(0, asked + wait - performance.now())));
	const event = one => {
		if (ANEW.test(one.type)) return reload();
		soon();
		if (!one.node) return;
		const old = moved[one.node] ?? nodes.peek()[one.node];
		if (!old) return reload(); // a step of a plan that is not here yet
		moved[one.node] = step(old, one, Date.parse(one.ts) - Date.parse(run.peek().created));
		seen[one.node] = one.seq;
		flush ??= setTimeout(
			() => {
				nodes.value = {...nodes.peek(), ...moved};
				moved = {};
				flush = null;
			},
			large() ? 400 : 60
		);
	};
	const clock = setInterval(() => {
		if (!live()) return;
		now.value = performance.now() - zero;
		if (performance.now() - asked > (large() ? 10000 : 3000)) soon(); // a run whose process died sends nothing
	}, 1000);
	reload();
	return {
		run,
		nodes,
		ids,
		now,
		error,
		reload,
		close: () => ((closed = true), hear?.(), clearInterval(clock), clearTimeout(waits), clearTimeout(flush))
	};
}

/** A node after an event, `ms` after the run began. */
function step(node, {type, attempt, element, data}, ms) {
	const {actual, status: old} = node;
	if (type === "node.started") {
		return {
			...node,
			status: OVER.has(old) ? old : "running",
			calls: node.calls + 1,
			attempt: Math.max(node.attempt, attempt),
			tool: element === null ? data.tool : node.tool,
			actual: {...actual, start_ms: actual.start_ms ?? ms}
		};
	}
	const status = MOVES[type.slice(5)];
	if (!status || attempt !== null || element !== null) return node;
	return {
		...node,
		status,
		reason: data.reason ?? "",
		actual: OVER.has(status)
			? {...actual, end_ms: ms, ms: actual.start_ms === null ? null : ms - actual.start_ms}
			: actual
	};
}
