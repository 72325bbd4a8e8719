// A plan as a graph: real buttons over an SVG of lines. Who shows it fetches the layout and owns all state.
//   layout    plans/HASH/layout?dir=&open=; fetch it when these change, never on an event
//   plan      plans/HASH
//   nodes     {id: NODE} as of runs/ID, or null; parts may be missing. Only boxes of new objects are drawn anew
//   selected, select(id)   the step shown in detail
//   colour    "status" | "cost" | "latency" | "slack"
//   critical  the critical path only
//   toggle(group)          setQuery({open: toggled(open, group)}), then the layout anew
//   labels    {id: {text, kind: "good" | "bad" | "warn" | "busy" | ""}}: one more chip on a box
//   title     its name
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/vendor.js";
import { duration, stateOf, usd } from "./basics.js";

/** The open groups, as the address has them, after one more was opened or closed. */
export const toggled = (open, id) => {
  const now = (open || "").split(",").filter(Boolean);
  return (now.includes(id) ? now.filter((one) => one !== id) : [...now, id]).slice(-20).join(",");
};

const OVER = ["ok", "failed", "skipped", "refused", "poisoned", "cancelled"];
const WORST = ["failed", "refused", "lost", "waiting_approval", "running", "ready", "cancelled", "poisoned"];
const LEAST = 0.1, LEGIBLE = 0.55, MOST = 2;

export function Graph({ layout, plan, nodes, selected = null, select, colour = "status", critical = false, toggle, labels = {}, title = "plan" }) {
  const view = useRef(null), drawn = useRef(new Map()), drag = useRef(null);
  const hold = useRef(null); // the point that stays where it is while the zoom changes
  const opened = useRef(null); // the group that was opened last: its first step is focused
  const [zoom, setZoom] = useState(1);
  const [focus, setFocus] = useState(null);
  const map = useMemo(() => index(layout, plan), [layout, plan]);
  const known = nodes ?? {};
  const fit = (least) => setZoom(Math.max(least, Math.min(1, view.current.clientWidth / layout.w, (innerHeight * 0.7) / layout.h)));
  const zoomBy = (factor, x = view.current.clientWidth / 2, y = view.current.clientHeight / 2) => {
    hold.current = [x, y, (view.current.scrollLeft + x) / zoom, (view.current.scrollTop + y) / zoom];
    setZoom(Math.min(MOST, Math.max(LEAST, zoom * factor)));
  };

  const hot = plan.nodes.filter((one) => known[one.id]?.critical).map((one) => map.holder.get(one.id)); // boxes along the path
  const path = new Set(hot.slice(1).map((id, i) => `${hot[i]} ${id}`));
  const shown = critical ? map.boxes.filter((box) => hot.includes(box.id)) : map.boxes;
  const visible = new Set(shown.map((box) => box.id));
  const walk = shown.filter((box) => box.walk);
  const at = map.holder.get(selected);
  const first = visible.has(focus) ? focus : visible.has(at) ? at : walk[0]?.id;
  const element = (id) => view.current.querySelector(`[data-id="${CSS.escape(id)}"]`);

  useLayoutEffect(() => fit(LEGIBLE), [layout.hash, layout.dir]);
  useLayoutEffect(() => {
    const [x, y, left, top] = hold.current ?? [];
    if (hold.current) view.current.scrollTo(left * zoom - x, top * zoom - y);
    hold.current = null;
  }, [zoom]);
  useEffect(() => {
    const box = map.byId.get(at ?? walk[0]?.id);
    if (box && !view.current.contains(document.activeElement)) reveal(view.current, box.at, zoom);
  }, [at, layout.hash, layout.dir, zoom]);
  useLayoutEffect(() => { // before the next turn of the wheel
    const wheel = (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const frame = view.current.getBoundingClientRect();
      zoomBy(event.deltaY < 0 ? 1.15 : 1 / 1.15, event.clientX - frame.left, event.clientY - frame.top);
    };
    const box = view.current;
    box.addEventListener("wheel", wheel, { passive: false });
    return () => box.removeEventListener("wheel", wheel);
  }, [zoom]);
  useEffect(() => {
    const group = layout.groups?.find((one) => one.id === opened.current && !one.closed);
    if (!group) return;
    opened.current = null;
    element(map.holder.get(group.steps[0]))?.focus();
  }, [layout]);

  const move = (id) => id && (setFocus(id), element(id).focus());
  const keys = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const box = map.byId.get(event.target.dataset.id);
    const act = {
      "+": () => zoomBy(1.25), "-": () => zoomBy(0.8), 0: () => fit(LEAST),
      Home: () => move(walk[0]?.id), End: () => move(walk.at(-1)?.id),
    }[event.key] ?? (box && event.key.startsWith("Arrow") && (() => move(neighbour(map, box, event.key, layout.dir, walk))));
    if (!act) return;
    event.preventDefault();
    act();
  };
  const click = ({ target }) => {
    const box = map.byId.get(target.closest("[data-id]")?.dataset.id);
    if (box?.group) toggle?.((opened.current = box.id));
    else if (box) select?.(box.id);
  };
  const down = (event) => {
    if (event.pointerType !== "mouse" || event.button || event.target.closest("button")) return; // fingers scroll
    drag.current = [event.clientX + view.current.scrollLeft, event.clientY + view.current.scrollTop];
    view.current.setPointerCapture(event.pointerId);
  };
  const pull = (event) => drag.current && view.current.scrollTo(drag.current[0] - event.clientX, drag.current[1] - event.clientY);
  const drop = () => (drag.current = null);

  /** What was drawn for `id` if nothing it depends on has changed: the renderer then skips it. */
  const keep = (id, needs, make) => {
    const old = drawn.current.get(id);
    if (old && needs.every((one, i) => one === old.needs[i])) return old.made;
    drawn.current.set(id, { needs, made: make() });
    return drawn.current.get(id).made;
  };
  const facts = new Map(shown.map((box) => [box.id, box.group ? sum(box, known) : known[box.id]]));
  const most = Math.max(0, ...[...facts.values()].map((node) => heat(colour, node)));
  const lit = (box) => nodes && box.steps.every((id) => OVER.includes(known[id]?.status) || id.startsWith("in:"));
  const lines = map.edges.filter((edge) => visible.has(edge.from) && visible.has(edge.to)).map((edge) => {
    const kind = `${lit(map.byId.get(edge.from)) ? "lit" : ""}${path.has(edge.id) ? " hot" : ""}${edge.order ? " order" : ""}`;
    return keep(edge.id, [edge, kind], () => html`<path key=${edge.id} class=${kind} d=${edge.d} />`);
  });
  const boxes = shown.map((box) => {
    const node = facts.get(box.id), label = labels[box.id], on = at === box.id, tab = first === box.id;
    const state = box.group ? JSON.stringify(node) : node; // a sum is a new object each time
    return keep(box.id, [box, state, colour, most, label?.text, label?.kind, on, tab], () =>
      html`<${box.walk ? Step : Port} key=${box.id} ...${{ box, node, colour, most, label, on, tab }} />`);
  });
  const count = plan.nodes.filter((one) => one.kind === "step").length;
  return html`<div class="graph"><div class="row graph-tools">
      <button onClick=${() => zoomBy(0.8)} aria-label="Zoom out" title="key −">−</button>
      <span class="num">${Math.round(zoom * 100)} %</span>
      <button onClick=${() => zoomBy(1.25)} aria-label="Zoom in" title="key +">+</button>
      <button onClick=${() => fit(LEAST)} title="key 0">Fit</button>
      ${(layout.groups ?? []).filter((group) => !group.closed).map((group) => html`<button key=${group.id} class="quiet" aria-expanded="true"
        aria-label="${group.title}, close" onClick=${() => toggle?.(group.id)}>▾ ${group.title}</button>`)}
      ${layout.capped && html`<span class="muted">${count} steps in ${map.boxes.length} boxes; open a group to see into it</span>`}</div>
    <div class="graph-view" ref=${view} role="group" aria-label="${title}, graph of ${count} steps; arrow keys move along its edges"
      onClick=${click} onKeyDown=${keys} onFocusIn=${(event) => setFocus(event.target.dataset.id ?? focus)}
      onPointerDown=${down} onPointerMove=${pull} onPointerUp=${drop} onPointerCancel=${drop}>
      <div class="graph-size" style="width:${layout.w * zoom}px;height:${layout.h * zoom}px;--w:${layout.w};--h:${layout.h}">
        <div class="graph-sheet" style="width:${layout.w}px;height:${layout.h}px;transform:scale(${zoom})">
          <svg width=${layout.w} height=${layout.h} aria-hidden="true">${lines}</svg>${boxes}</div></div></div></div>`;
}

function index(layout, plan) {
  const axis = layout.dir === "TB" ? 0 : 1; // along which boxes of one rank lie
  const said = new Map(plan.nodes.map((one) => [one.id, one]));
  const groups = (layout.groups ?? []).filter((group) => group.box);
  const boxes = [
    ...Object.entries(layout.nodes).map(([id, at]) => ({ id, at, of: said.get(id) ?? { title: id, kind: "step" }, steps: [id] })),
    ...groups.map((group) => ({ id: group.id, at: group.box, of: group, group, steps: group.steps })),
  ];
  for (const box of boxes) {
    const middle = (i) => box.at[i] + box.at[i + 2] / 2;
    box.walk = !!box.group || box.of.kind === "step"; // inputs and outputs cannot be chosen
    box.rank = Math.round(middle(1 - axis));
    box.place = middle(axis);
  }
  boxes.sort((a, b) => a.rank - b.rank || a.place - b.place);
  const order = new Set((plan.edges ?? []).filter((edge) => edge.order).map((edge) => `${edge.from} ${edge.to}`));
  const edges = layout.edges.map(({ from, to, points }) => ({ id: `${from} ${to}`, from, to, d: curve(points, axis), order: order.has(`${from} ${to}`) }));
  return { boxes, edges, byId: new Map(boxes.map((box) => [box.id, box])), holder: new Map(boxes.flatMap((box) => box.steps.map((id) => [id, box.id]))) };
}

/** Lines along the flow, S-curves between ranks, and a head. */
function curve([[x, y], ...points], axis) {
  let d = `M${x} ${y}`;
  for (const [u, v] of points) {
    const a = (x + u) / 2, b = (y + v) / 2;
    d += x === u || y === v ? `L${u} ${v}` : axis ? `C${a} ${y} ${a} ${v} ${u} ${v}` : `C${x} ${b} ${u} ${b} ${u} ${v}`;
    [x, y] = [u, v];
  }
  return d + (axis ? `M${x - 6} ${y - 4}L${x} ${y}L${x - 6} ${y + 4}` : `M${x - 4} ${y - 6}L${x} ${y}L${x + 4} ${y - 6}`);
}

/** The id of the box a key leads to: the nearest at the other end of an edge, or the next of the same rank. */
function neighbour(map, box, key, dir, walk) {
  const along = dir === "TB" ? ["ArrowUp", "ArrowDown"] : ["ArrowLeft", "ArrowRight"];
  if (!along.includes(key)) {
    const row = walk.filter((one) => one.rank === box.rank);
    return row[row.indexOf(box) + (key === "ArrowDown" || key === "ArrowRight" ? 1 : -1)]?.id;
  }
  const [here, there] = key === along[1] ? ["from", "to"] : ["to", "from"];
  const ends = map.edges.filter((edge) => edge[here] === box.id).map((edge) => map.byId.get(edge[there])).filter((one) => walk.includes(one));
  return ends.sort((a, b) => Math.abs(a.place - box.place) - Math.abs(b.place - box.place))[0]?.id;
}

function reveal(view, [x, y, w, h], zoom) {
  const into = (from, size, now, room) => (from < now ? from - 16 : from + size > now + room ? from + size - room + 16 : now);
  view.scrollTo(into(x * zoom, w * zoom, view.scrollLeft, view.clientWidth), into(y * zoom, h * zoom, view.scrollTop, view.clientHeight));
}

/** A closed group as one node: the worst state, sums of money, the time from its first start to its last end. */
function sum(box, known) {
  const all = box.steps.map((id) => known[id]).filter(Boolean);
  if (!all.length) return undefined;
  const total = (list, of) => (list.length && list.every((node) => of(node) != null) ? list.reduce((so, node) => so + Number(of(node)), 0).toFixed(9) : null);
  const done = all.filter((node) => OVER.includes(node.status)).length;
  const begun = all.filter((node) => node.actual?.start_ms != null).map((node) => node.actual);
  return {
    status: all[0].status && (WORST.find((state) => all.some((node) => node.status === state)) ?? (done === all.length ? "ok" : done ? "running" : "pending")),
    done, size: all.length, critical: all.some((node) => node.critical),
    est: { cost: { p50: total(all, (node) => node.est?.cost?.p50) } },
    actual: { cost: total(begun, (one) => one.cost ?? (one.unpriced ? null : 0)), ms: begun.length ? Math.max(...begun.map((one) => one.end_ms ?? one.start_ms)) - Math.min(...begun.map((one) => one.start_ms)) : null },
    slack_ms: Math.min(...all.map((node) => node.slack_ms ?? 0)),
  };
}

/** How much of what the colour shows. */
const heat = (colour, node) => ({
  cost: Number(node?.actual?.cost ?? node?.est?.cost?.p50), latency: node?.actual?.ms ?? node?.est?.ms?.p50, slack: node?.slack_ms,
})[colour] || 0;

/** [what a box has room for, what is said]: "$0.015 +3 %", "$0.015, estimated $0.0146". */
function both(est, actual, text) {
  if (actual == null) return est == null ? ["", ""] : [`≈ ${text(est)}`, `about ${text(est)}`];
  const off = Math.round((actual / est - 1) * 100);
  return [text(actual) + (est > 0 && off ? ` ${off > 0 ? "+" : "−"}${Math.abs(off)} %` : ""), text(actual) + (est == null ? "" : `, estimated ${text(est)}`)];
}
const place = ({ at: [x, y, w, h] }) => `left:${x}px;top:${y}px;width:${w}px;height:${h}px`;
const Chip = ({ label }) => label && html`<span class="chip ${label.kind}">${label.text}</span>`;

const Port = ({ box, label }) => html`<div class="graph-box port" style=${place(box)} title=${box.of.lines?.join("\n")}>
  <b><bdi>${box.of.title}</bdi></b><span class="muted">${box.of.kind}</span><${Chip} label=${label} /></div>`;

function Step({ box, node, colour, most, label, on, tab }) {
  const { of, group } = box;
  const { status, est, actual, slack_ms, critical } = node ?? {};
  const [shape, word, tone] = status ? stateOf(node.cached && status === "ok" ? "cached" : status) : ["", "", ""];
  const tool = group ? group.what ?? "" : node?.tool ?? of.tools?.[0] ?? "";
  const [cost, price] = actual?.unpriced && actual.cost == null ? ["unpriced", ""] : both(est?.cost?.p50, actual?.cost, usd);
  const [ms, time] = both(est?.ms?.p50, actual?.ms, duration);
  const slack = critical ? "no slack" : slack_ms > 0 ? `slack ${duration(slack_ms)}` : "";
  const queue = actual?.queue_ms > Math.max(50, (actual?.ms ?? 0) / 10) && `queued ${duration(actual.queue_ms)}`;
  const others = (of.tools?.length ?? 1) - 1;
  const marks = [group ? `${group.members} steps` : of.mapped && `×${node?.elements ?? "n"}`, of.guard && "◇ when", others > 0 && `+${others} alt`, queue && "waited"];
  const figure = colour === "slack" ? slack : ms;
  const says = [
    of.title, tool, group && `group of ${group.members} steps`, of.mapped && `once per element, ${marks[0]}`, group && status ? `${node.done} of ${node.size} done, ${word}` : word,
    label?.text, price ? `cost ${price}` : cost, time && `time ${time}`, !critical && slack, queue, of.guard,
    others > 0 && `${others} alternatives`, critical && "on the critical path",
  ].filter(Boolean).join(", ");
  return html`<button class="graph-box step ${tone && `t-${tone}`} ${critical ? "hot" : ""} ${group ? "group" : ""} ${of.mapped ? "many" : ""} ${of.guard ? "maybe" : ""}"
    style=${place(box)} data-id=${box.id} tabindex=${tab ? 0 : -1} aria-label=${says} aria-expanded=${group && "false"} aria-current=${on ? "true" : undefined}
    title=${[says, ...(of.lines ?? []), of.notes].filter(Boolean).join("\n")}>
    <span class="graph-line"><b><bdi>${of.title}</bdi></b><${Chip} label=${label} />${marks.filter(Boolean).map((mark) => html`<small>${mark}</small>`)}</span>
    <span class="graph-line"><span class="muted"><bdi>${tool}</bdi></span><span class=${tone}>${shape} ${group && status ? `${node.done}/${node.size}` : word}</span></span>
    <span class="graph-line num"><span>${cost}</span><span>${figure}</span></span>
    ${most > 0 && html`<i class="heat" style="width:${Math.round((100 * heat(colour, node)) / most)}%"></i>`}</button>`;
}
