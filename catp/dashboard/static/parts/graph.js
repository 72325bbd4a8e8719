// A plan as a graph: real buttons over an SVG of lines. Who shows it fetches the layout and owns all state.
//
// html`<${Graph} ... />` with
//   layout    answer of plans/HASH/layout?dir=LR|TB&open=A,B; fetch it when dir or open change, never on an event
//   plan      answer of plans/HASH
//   nodes     {id: NODE} as runs/ID has them, or null; parts may be missing (a plan has no `status`, no `actual`). To change
//             one, pass a new map with a new object for that id and the same objects for all others: only that box is drawn anew
//   selected, select(id)   the step that is shown in detail
//   colour    "status" | "cost" | "latency" | "slack" | "quality" (NODE.quality in 0..1)
//   critical  true shows the critical path only
//   toggle(group id)       open or close a group: setQuery({open: toggled(open, id)}), then fetch the layout anew
//   labels    {id: {text, kind: "good" | "bad" | "warn" | "busy" | ""}}: one more chip on a box, e.g. "only in B"
//   title     names it for those who hear it
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/vendor.js";
import { duration, stateOf, usd } from "./basics.js";

/** The open groups after one more was opened or closed; text as it is in the address. Only the newest 20 stay open. */
export const toggled = (open, id) => {
  const now = (open || "").split(",").filter(Boolean);
  return (now.includes(id) ? now.filter((one) => one !== id) : [...now, id]).slice(-20).join(",");
};

const OVER = new Set(["ok", "failed", "skipped", "refused", "poisoned", "cancelled", "timeout"]);
const WORST = ["failed", "timeout", "refused", "lost", "waiting_approval", "waiting", "running", "ready", "cancelled", "poisoned"];
const LEAST = 0.1, MOST = 2;
const NONE = {};

export function Graph({ layout, plan, nodes, selected = null, select, colour = "status", critical = false, toggle, labels = NONE, title = "plan" }) {
  const view = useRef(null);
  const drawn = useRef(new Map());
  const drag = useRef(null);
  const hold = useRef(null); // the point that stays where it is while the zoom changes
  const opened = useRef(null); // the group that was opened last: the focus goes to its first step
  const [zoom, setZoom] = useState(1);
  const [focus, setFocus] = useState(null);
  const map = useMemo(() => index(layout, plan), [layout, plan]);
  const known = nodes ?? NONE;

  const fit = (least) => {
    const width = view.current.clientWidth, height = innerHeight * 0.7;
    setZoom(Math.max(least, Math.min(1, width / layout.w, height / layout.h)));
  };
  const zoomBy = (factor, x = view.current.clientWidth / 2, y = view.current.clientHeight / 2) => {
    const next = Math.min(MOST, Math.max(LEAST, zoom * factor));
    hold.current = { x, y, left: (view.current.scrollLeft + x) / zoom, top: (view.current.scrollTop + y) / zoom };
    setZoom(next);
  };
  useLayoutEffect(() => {
    if (!hold.current) return;
    const { x, y, left, top } = hold.current;
    view.current.scrollTo(left * zoom - x, top * zoom - y);
    hold.current = null;
  }, [zoom]);
  useLayoutEffect(() => {
    fit(0.55); // small enough to see much, large enough to read
  }, [layout.hash, layout.dir]);
  useEffect(() => {
    const wheel = (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const frame = view.current.getBoundingClientRect();
      zoomBy(event.deltaY < 0 ? 1.15 : 1 / 1.15, event.clientX - frame.left, event.clientY - frame.top);
    };
    view.current.addEventListener("wheel", wheel, { passive: false });
    return () => view.current?.removeEventListener("wheel", wheel);
  }, [zoom]);

  const isCritical = (box) => box.steps.some((id) => known[id]?.critical);
  const shown = critical ? map.boxes.filter(isCritical) : map.boxes;
  const visible = new Set(shown.map((box) => box.id));
  const at = map.holder.get(selected);
  const current = visible.has(focus) ? focus : visible.has(at) ? at : shown.find((box) => box.walk)?.id;
  const element = (id) => view.current?.querySelector(`[data-id="${CSS.escape(id)}"]`);

  useEffect(() => {
    const box = map.byId.get(at);
    if (box && view.current && !view.current.contains(document.activeElement)) reveal(view.current, box.at, zoom);
  }, [at, map]);
  useEffect(() => {
    const group = opened.current && layout.groups?.find((one) => one.id === opened.current);
    if (!group || group.closed) return;
    opened.current = null;
    element(map.holder.get(group.steps[0]))?.focus();
  }, [layout]);

  const click = (event) => {
    const id = event.target.closest("[data-id]")?.dataset.id;
    const box = map.byId.get(id);
    if (!box) return;
    if (!box.group) return select?.(id);
    opened.current = id;
    toggle?.(id);
  };
  const move = (id) => {
    if (!id) return;
    setFocus(id);
    element(id)?.focus();
  };
  const keys = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const box = map.byId.get(event.target.dataset?.id);
    const act = {
      "+": () => zoomBy(1.25), "=": () => zoomBy(1.25), "-": () => zoomBy(0.8), 0: () => fit(LEAST),
      Home: () => move(shown.find((one) => one.walk)?.id), End: () => move(shown.filter((one) => one.walk).at(-1)?.id),
    }[event.key] ?? (box && event.key.startsWith("Arrow") && (() => move(neighbour(map, box, event.key, layout.dir, visible))));
    if (!act) return;
    event.preventDefault();
    act();
  };
  const down = (event) => {
    if (event.pointerType !== "mouse" || event.button || event.target.closest("button")) return;
    drag.current = { x: event.clientX + view.current.scrollLeft, y: event.clientY + view.current.scrollTop };
    view.current.setPointerCapture(event.pointerId);
  };
  const pull = (event) => drag.current && view.current.scrollTo(drag.current.x - event.clientX, drag.current.y - event.clientY);
  const up = () => (drag.current = null);

  /** What is drawn for `id`, as it was before if nothing it depends on has changed: the renderer then skips it. */
  const keep = (id, needs, make) => {
    const old = drawn.current.get(id);
    if (old && old.needs.length === needs.length && old.needs.every((one, i) => one === needs[i])) return old.made;
    const made = make();
    drawn.current.set(id, { needs, made });
    return made;
  };
  const most = colour === "status" ? 0 : Math.max(0, ...map.boxes.map((box) => heat(colour, box.group ? sum(box, known) : known[box.id])));
  const lit = (box) => box && box.steps.every((id) => known[id] ? OVER.has(known[id].status) : id.startsWith("in:") && nodes);
  const lines = map.edges.filter((edge) => visible.has(edge.from) && visible.has(edge.to)).map((edge) => {
    const source = map.byId.get(edge.from), target = map.byId.get(edge.to);
    const kind = `${lit(source) ? "lit" : ""}${isCritical(source) && isCritical(target) ? " hot" : ""}${edge.order ? " order" : ""}`;
    return keep(`${edge.from} ${edge.to}`, [edge, kind], () => html`<path key="${edge.from} ${edge.to}" class=${kind} d=${edge.d} />`);
  });
  const boxes = shown.map((box) => {
    const node = box.group ? sum(box, known) : known[box.id];
    const state = box.group ? JSON.stringify(node) : node; // a sum is a new object each time
    const label = labels[box.id];
    return keep(box.id, [box, state, colour, most, label?.text, label?.kind, at === box.id, current === box.id], () =>
      html`<${box.walk ? Step : Port} key=${box.id} ...${{ box, node, colour, most, label, on: at === box.id, first: current === box.id }} />`);
  });
  const open = (layout.groups ?? []).filter((group) => !group.closed);
  const count = plan.nodes.filter((one) => one.kind === "step").length;
  return html`<div class="graph">
    <div class="row graph-tools"><span class="row"><button type="button" onClick=${() => zoomBy(0.8)} aria-label="Zoom out" title="Zoom out (−)">−</button>
      <span class="num" role="status" aria-label="zoom">${Math.round(zoom * 100)} %</span>
      <button type="button" onClick=${() => zoomBy(1.25)} aria-label="Zoom in" title="Zoom in (+)">+</button>
      <button type="button" onClick=${() => fit(LEAST)} title="Show all of it (0)">Fit</button></span>
      ${open.map((group) => html`<button type="button" key=${group.id} class="quiet" aria-expanded="true" onClick=${() => toggle?.(group.id)}>▾ ${group.title} <span class="sr">, close</span></button>`)}
      ${layout.capped && html`<span class="muted">${count} steps drawn as ${map.boxes.length} boxes; open a group to see into it</span>`}</div>
    <div class="graph-view" ref=${view} role="group" aria-label="${title}, graph of ${count} steps; arrow keys move along its edges"
      onClick=${click} onKeyDown=${keys} onFocusIn=${(event) => event.target.dataset.id && setFocus(event.target.dataset.id)}
      onPointerDown=${down} onPointerMove=${pull} onPointerUp=${up} onPointerCancel=${up}>
      <div class="graph-size" style="width:${layout.w * zoom}px;height:${layout.h * zoom}px;--w:${layout.w};--h:${layout.h}">
        <div class="graph-sheet" style="width:${layout.w}px;height:${layout.h}px;transform:scale(${zoom})">
          <svg width=${layout.w} height=${layout.h} aria-hidden="true">${lines}</svg>${boxes}</div></div></div></div>`;
}

// --- what is where ----------------------------------------------------------------------------------------------------

function index(layout, plan) {
  const across = layout.dir === "TB" ? 0 : 1;
  const said = new Map(plan.nodes.map((one) => [one.id, one]));
  const boxes = Object.entries(layout.nodes).map(([id, at]) => ({ id, at, of: said.get(id) ?? { title: id, kind: "step" }, steps: [id] }));
  for (const group of layout.groups ?? []) if (group.box) boxes.push({ id: group.id, at: group.box, group, of: group, steps: group.steps });
  const middle = (box, axis) => box.at[axis] + box.at[axis + 2] / 2;
  for (const box of boxes) {
    box.walk = box.group || box.of.kind === "step"; // inputs and outputs cannot be chosen
    box.rank = Math.round(middle(box, 1 - across));
    box.place = middle(box, across);
  }
  boxes.sort((a, b) => a.rank - b.rank || a.place - b.place);
  const byId = new Map(boxes.map((box) => [box.id, box]));
  const after = new Map(), before = new Map();
  const note = (map, from, to) => map.set(from, [...(map.get(from) ?? []), to]);
  const order = new Set((plan.edges ?? []).filter((edge) => edge.order).map((edge) => `${edge.from} ${edge.to}`));
  const edges = layout.edges.map((edge) => {
    note(after, edge.from, edge.to);
    note(before, edge.to, edge.from);
    return { from: edge.from, to: edge.to, d: curve(edge.points, across), order: order.has(`${edge.from} ${edge.to}`) };
  });
  const holder = new Map(boxes.flatMap((box) => box.steps.map((id) => [id, box.id])));
  return { boxes, byId, after, before, edges, holder };
}

/** Lines along the flow, S-curves between ranks, and a head. */
function curve(points, across) {
  let [x, y] = points[0];
  let d = `M${x} ${y}`;
  for (const [u, v] of points.slice(1)) {
    const a = (x + u) / 2, b = (y + v) / 2;
    d += x === u || y === v ? `L${u} ${v}` : across ? `C${a} ${y} ${a} ${v} ${u} ${v}` : `C${x} ${b} ${u} ${b} ${u} ${v}`;
    [x, y] = [u, v];
  }
  return d + (across ? `M${x - 6} ${y - 4}L${x} ${y}L${x - 6} ${y + 4}` : `M${x - 4} ${y - 6}L${x} ${y}L${x + 4} ${y - 6}`);
}

function neighbour(map, box, key, dir, visible) {
  const [back, ahead, prior, next] = dir === "TB" ? ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"] : ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"];
  const may = (one) => one?.walk && visible.has(one.id);
  if (key === prior || key === next) {
    const row = map.boxes.filter((one) => one.rank === box.rank && may(one));
    return row[row.indexOf(box) + (key === next ? 1 : -1)]?.id;
  }
  const ends = ((key === ahead ? map.after : key === back ? map.before : null)?.get(box.id) ?? []).map((id) => map.byId.get(id)).filter(may);
  return ends.sort((a, b) => Math.abs(a.place - box.place) - Math.abs(b.place - box.place))[0]?.id;
}

function reveal(view, [x, y, w, h], zoom) {
  const into = (from, size, now, room) => (from < now ? from - 16 : from + size > now + room ? from + size - room + 16 : now);
  view.scrollTo(into(x * zoom, w * zoom, view.scrollLeft, view.clientWidth), into(y * zoom, h * zoom, view.scrollTop, view.clientHeight));
}

// --- what a box says --------------------------------------------------------------------------------------------------

/** A closed group as one node: the worst state, sums of money, the time from its first start to its last end. */
function sum(box, known) {
  const all = box.steps.map((id) => known[id]).filter(Boolean);
  if (!all.length) return undefined;
  const total = (of) => all.reduce((so, node) => (so === null || of(node) == null ? null : so + Number(of(node))), 0);
  const done = all.filter((node) => OVER.has(node.status)).length;
  const begun = all.filter((node) => node.actual?.start_ms != null), began = begun.map((node) => node.actual.start_ms);
  const ended = begun.map((node) => node.actual.end_ms ?? node.actual.start_ms);
  const text = (value) => (value === null ? null : value.toFixed(9));
  return {
    status: all[0].status && (WORST.find((state) => all.some((node) => node.status === state)) ?? (done === all.length ? "ok" : done ? "running" : "pending")),
    done, size: all.length, critical: all.some((node) => node.critical),
    est: { cost: { p50: text(total((node) => node.est?.cost?.p50)) }, ms: { p50: null } },
    actual: { cost: begun.length ? text(begun.reduce((so, node) => so + Number(node.actual.cost ?? 0), 0)) : null, ms: begun.length ? Math.max(...ended) - Math.min(...began) : null },
    slack_ms: Math.min(...all.map((node) => node.slack_ms ?? Infinity)),
  };
}

/** How much of what the colour shows; compared with the largest in the graph. */
function heat(colour, node) {
  if (colour === "cost") return Number(node?.actual?.cost ?? node?.est?.cost?.p50 ?? 0);
  if (colour === "latency") return node?.actual?.ms ?? node?.est?.ms?.p50 ?? 0;
  if (colour === "slack") return Number.isFinite(node?.slack_ms) ? node.slack_ms : 0;
  return colour === "quality" ? node?.quality ?? 0 : 0;
}

const both = (est, actual, text) => (actual != null ? (est != null ? `${text(est)} → ${text(actual)}` : text(actual)) : est != null ? `≈ ${text(est)}` : "");

function Port({ box, label }) {
  const { title, kind, lines = [] } = box.of;
  return html`<div class="graph-box port ${kind}" style=${place(box)} title=${lines.join("\n")}><b><bdi>${title}</bdi></b> <span class="muted">${kind}</span>${label && html` <span class="chip ${label.kind}">${label.text}</span>`}</div>`;
}

function Step({ box, node, colour, most, label, on, first }) {
  const { of, group } = box;
  const state = node?.cached && node.status === "ok" ? "cached" : node?.status;
  const [shape, word, tone] = state ? stateOf(state) : ["", "", ""];
  const tool = group ? `${group.members} steps` : node?.tool ?? of.tools?.[0] ?? "";
  const times = group ? null : of.mapped ? `×${node?.elements ?? "n"}` : null;
  const cost = node?.actual?.cost == null && node?.actual?.unpriced ? "unpriced" : both(node?.est?.cost?.p50, node?.actual?.cost, usd);
  const ms = both(node?.est?.ms?.p50, node?.actual?.ms, duration);
  const slack = Number.isFinite(node?.slack_ms) && !node.critical ? `slack ${duration(node.slack_ms)}` : "";
  const queue = node?.actual?.queue_ms > Math.max(50, (node?.actual?.ms ?? 0) / 10) ? `queued ${duration(node.actual.queue_ms)}` : "";
  const others = (of.tools?.length ?? 1) - 1;
  const marks = [times, of.guard && "◇ when", others > 0 && `+${others} alt`, queue && "⧗"].filter(Boolean);
  const figure = colour === "slack" ? slack || (node?.critical ? "no slack" : "") : colour === "quality" ? (node?.quality == null ? "" : `quality ${node.quality.toFixed(2)}`) : ms;
  const amount = heat(colour, node);
  const says = [of.title, tool, group ? "closed group" : times && `for each element, ${times}`, group && state ? `${node.done} of ${node.size} done, ${word}` : word,
    cost && (cost === "unpriced" ? cost : `cost ${cost.replace("→", "estimated, actual")}`), ms && `time ${ms.replace("→", "estimated, actual")}`, slack, queue,
    of.guard, others > 0 && `${others} alternative tool${others > 1 ? "s" : ""}`, label?.text, node?.critical && "on the critical path"].filter(Boolean).join(", ");
  return html`<button type="button" class="graph-box step ${tone} ${node?.critical ? "hot" : ""} ${group ? "group" : ""} ${of.mapped ? "many" : ""} ${of.guard ? "maybe" : ""}" style=${place(box)}
    data-id=${box.id} tabindex=${first ? 0 : -1} aria-label=${says} aria-expanded=${group ? "false" : undefined} aria-current=${on ? "true" : undefined} title=${[says, ...(of.lines ?? []), of.notes].filter(Boolean).join("\n")}>
    <span class="graph-line"><b><bdi>${of.title}</bdi></b>${label && html`<span class="chip ${label.kind}">${label.text}</span>`}${marks.map((mark) => html`<small>${mark}</small>`)}</span>
    <span class="graph-line"><span class="muted"><bdi>${tool}</bdi></span><span class="${tone}">${shape} ${group && state ? `${node.done}/${node.size}` : word}</span></span>
    <span class="graph-line num"><span>${cost}</span><span>${figure}</span></span>
    ${most > 0 && html`<i class="heat" style="width:${Math.round((100 * amount) / most)}%"></i>`}</button>`;
}

const place = ({ at: [x, y, w, h] }) => `left:${x}px;top:${y}px;width:${w}px;height:${h}px`;
