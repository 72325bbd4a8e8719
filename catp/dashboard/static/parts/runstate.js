// A run as it goes on: fetched once, moved by events; what only the server knows (money, slack, forecast) is asked now and then.
import { computed, signal } from "../vendor/vendor.js";
import { get } from "../api.js";
import { listen } from "../store.js";

const MOVES = {
  "node.ready": "ready", "node.awaiting_approval": "waiting_approval", "node.finished": "ok", "node.failed": "failed",
  "node.skipped": "skipped", "node.refused": "refused", "node.poisoned": "poisoned", "node.cancelled": "cancelled",
};
const ANEW = new Set(["run.created", "run.resumed", "run.replanned", "run.waiting", "run.finished"]);
export const OVER = new Set(["ok", "failed", "skipped", "refused", "poisoned", "cancelled"]);
const LARGE = 300;

/**
 * {run, nodes, ids, live, now, error: signals; of(id): the signal of one node; reload, close}.
 * `nodes` is a new map with new objects for those that changed, and the same objects for all others.
 */
export function followRun(id) {
  const run = signal(null), nodes = signal({}), ids = signal([]), error = signal(null), now = signal(null);
  const live = computed(() => ["running", "stopping"].includes(run.value?.status));
  const single = new Map();
  const of = (name) => single.get(name) ?? single.set(name, computed(() => nodes.value[name])).get(name);
  let zero = 0; // when the run began, on this page's own clock: that of the server may be wrong
  let moved = {}, seen = {}, flush = 0, asking = 0, asked = 0, closed = false, hear = null;
  const large = () => ids.peek().length > LARGE;

  const take = ({ nodes: _, times: __, ...rest }) => {
    if (rest.now_ms !== null) zero = performance.now() - rest.now_ms;
    now.value = rest.now_ms;
    run.value = rest;
    error.value = null;
  };
  const fetched = (path, params, use) => {
    asking = -1; // one at a time
    asked = performance.now();
    get(path, params).then((found) => closed || (use(found), (asking = 0)), (problem) => {
      asking = 0;
      if (closed) return;
      if (!run.peek()) error.value = problem;
      else if (live.peek()) soon(3000);
    });
  };
  const reload = () => {
    clearTimeout(asking);
    fetched(`runs/${id}`, {}, (found) => {
      moved = {};
      nodes.value = Object.fromEntries(found.nodes.map((node) => [node.id, node]));
      ids.value = found.nodes.map((node) => node.id);
      take(found);
      hear ??= listen(`run:${found.id}`, { event, resync: reload, after: found.last_event_id });
    });
  };
  const figures = () => fetched(`runs/${id}/figures`, { since: run.peek().last_seq }, (found) => {
    const next = { ...nodes.peek() };
    const least = found.now_ms === null ? 0 : (found.ends_ms ?? 0) / 100; // a shift that nobody would see is none
    for (const [name, [slack_ms, starts_ms]] of Object.entries(found.times)) {
      const node = next[name], critical = found.critical_path.includes(name);
      if (!node) return reload();
      const shifted = (a, b) => (a === null) !== (b === null) || Math.abs(a - b) > least;
      if (critical !== node.critical || shifted(node.slack_ms, slack_ms) || shifted(node.starts_ms, starts_ms)) {
        next[name] = { ...node, slack_ms, starts_ms, critical };
      }
    }
    for (const node of found.nodes) {
      if (seen[node.id] > found.last_seq) continue; // events have told more since
      next[node.id] = node;
      delete moved[node.id];
    }
    nodes.value = next;
    take(found);
  });
  const soon = (wait = large() ? 3000 : 1000) => {
    if (asking || closed || !run.peek()) return;
    asking = setTimeout(figures, Math.max(0, asked + wait - performance.now()));
  };
  const event = (one) => {
    if (ANEW.has(one.type)) return asking === -1 ? setTimeout(() => closed || event(one), 200) : reload();
    if (one.node) {
      const old = moved[one.node] ?? nodes.peek()[one.node];
      if (!old) return reload(); // a step of a plan that is not here yet
      const next = step(old, one, Date.parse(one.ts) - Date.parse(run.peek().created));
      seen[one.node] = one.seq;
      if (next !== old) moved[one.node] = next;
      flush ||= setTimeout(() => {
        flush = 0;
        nodes.value = { ...nodes.peek(), ...moved };
        moved = {};
      }, large() ? 400 : 60);
    }
    soon();
  };
  const clock = setInterval(() => {
    if (!live.peek()) return;
    now.value = performance.now() - zero;
    if (performance.now() - asked > (large() ? 10000 : 3000)) soon(); // a run whose process died sends nothing
  }, 1000);
  reload();
  return {
    id, run, nodes, ids, live, now, error, of, reload,
    close: () => (closed = true, hear?.(), clearInterval(clock), clearTimeout(asking), clearTimeout(flush)),
  };
}

/** A node after an event, `ms` after the run began. */
function step(node, { type, attempt, element, data }, ms) {
  const { actual } = node;
  if (type === "node.started") {
    const running = OVER.has(node.status) ? node.status : "running";
    return {
      ...node, status: running, calls: node.calls + 1, attempt: Math.max(node.attempt, attempt ?? 0), tool: element === null ? data.tool : node.tool,
      actual: { ...actual, start_ms: actual.start_ms ?? ms },
    };
  }
  const status = MOVES[type];
  if (!status || attempt !== null || element !== null) return node;
  const over = OVER.has(status);
  return {
    ...node, status, reason: data.reason ?? "",
    actual: over ? { ...actual, end_ms: ms, ms: actual.start_ms === null ? null : ms - actual.start_ms } : actual,
  };
}
