"""A plan as one self-contained SVG: no scripts, no fonts or links from elsewhere, readable on light and dark pages.

Everything is scoped below the class `catp-plan`, so the picture can be put inline into a page without touching it.
"""

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from catp.planlang.compiled import CompiledPlan
from catp.planlang.nodes import Plan
from catp.planlang.render.collapse import collapsed
from catp.planlang.render.labels import clip, visible, width
from catp.planlang.render.layout import Box, Direction, EdgePath, layout
from catp.planlang.render.view import EdgeView, NodeView, PlanView, view

__all__ = ["to_svg"]

_CHARACTER = 7.0  # advance of the 11.5 px monospace face, rounded up so that text never leaves its box
_TITLE_CHARACTER = 7.9
_LINE = 16.0
_PADDING = 10.0
_COLUMNS = 46
_HEADER = 48.0
_FOOTER = 30.0

_LIGHT = {
    "page": "#ffffff", "ink": "#1c2733", "soft": "#5b6875", "line": "#9aa7b4", "step": "#f7f9fb",
    "input": "#eaf1fb", "input-edge": "#7ea3d6", "output": "#e8f5ec", "output-edge": "#62a87a",
    "hot": "#c2410c", "hot-fill": "#fff4ec",
}  # fmt: skip
_DARK = {
    "page": "#12181f", "ink": "#e6ebf0", "soft": "#9fadba", "line": "#5f6d7b", "step": "#1b242d",
    "input": "#182739", "input-edge": "#5b86c0", "output": "#16291d", "output-edge": "#4f9468",
    "hot": "#fb8b4b", "hot-fill": "#2d1f16",
}  # fmt: skip


def to_svg(plan: CompiledPlan | Plan, *, direction: Direction = "LR") -> str:
    """Return the drawing as SVG text. Any name or literal is safe: markup is escaped and characters that XML forbids
    are written as escapes. Plans too large to be drawn whole have groups in the place of steps."""
    drawn = collapsed(view(plan))
    sizes = {node.id: _size(node) for node in drawn.nodes}
    placed = layout(drawn.graph(), sizes=sizes, direction=direction)
    header = _header(drawn)
    wide = max(placed.width, 32 + max((width(line) * _TITLE_CHARACTER for line in header), default=0.0), 240.0)
    high = placed.height + _HEADER + _FOOTER
    key = "".join(c for c in drawn.key if c.isalnum())
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="catp-plan" role="img" viewBox="0 0 {wide:.0f} {high:.0f}" '
            f'width="{wide:.0f}" height="{high:.0f}" aria-labelledby="catp-{key}-title catp-{key}-desc">'
        ),
        f'<title id="catp-{key}-title">{_xml(drawn.title)}</title>',
        f'<desc id="catp-{key}-desc">{_xml(_description(drawn))}</desc>',
        f"<style>{_style()}</style>",
        f'<rect class="page" width="{wide:.0f}" height="{high:.0f}"/>',
        f'<text class="title" x="16" y="24">{_xml(header[0])}</text>',
    ]
    if len(header) > 1:
        lines.append(f'<text class="soft" x="16" y="41">{_xml(header[1])}</text>')
    lines.append(f'<g transform="translate(0 {_HEADER:.0f})">')
    edges = {(edge.source, edge.target): edge for edge in drawn.edges}
    paths = sorted(placed.edges, key=lambda path: edges[path.source, path.target].critical)  # critical ones on top
    lines += [_edge(path, edges[path.source, path.target], direction) for path in paths]
    for node in drawn.nodes:
        lines += _node(node, placed.nodes[node.id])
    lines += ["</g>", *_legend(drawn, high), "</svg>"]
    return "\n".join(lines) + "\n"


def _header(drawn: PlanView) -> list[str]:
    return [clip(drawn.title, 100)] + ([clip(drawn.summary, 120)] if drawn.summary else [])


def _description(drawn: PlanView) -> str:
    """Say in words what the picture shows, for those who hear it."""
    path = f" Critical path: {', then '.join(drawn.critical_path)}." if drawn.critical_path else ""
    after: dict[str, list[str]] = {}
    for edge in drawn.edges:
        after.setdefault(edge.target, []).append(edge.source.partition(":")[2] or edge.source)
    steps = [
        f"{node.title} runs {clip(' '.join(node.lines), 160)}"
        + (f" after {', '.join(after[node.id])}" if node.id in after else "")
        for node in drawn.nodes
        if node.kind == "step"
    ]
    more = f" And {len(steps) - 40} more steps." if len(steps) > 40 else ""
    summary = f"{drawn.summary}." if drawn.summary else f"{len(steps)} steps."
    return f"Plan {drawn.title}: {summary}{path} {'. '.join(steps[:40])}.{more}"


def _texts(node: NodeView) -> list[tuple[str, str]]:
    """Return (style class, text) of each line in a box."""
    call, soft = [("call", clip(line, _COLUMNS)) for line in node.lines], []
    if node.guard:
        soft.append(("guard", clip(node.guard, _COLUMNS)))
    if node.notes:
        soft.append(("soft", clip(node.notes, _COLUMNS)))
    figures = " · ".join(
        part for part in (node.price, node.latency, f"slack {node.slack}" if node.slack else "") if part
    )
    if figures:
        soft.append(("figure", figures))
    return [("name", clip(_name(node), _COLUMNS - 8)), *call, *soft]


def _name(node: NodeView) -> str:
    return node.title + ("?" if node.optional else "") + (" (writes)" if node.effects == "write" else "")


def _size(node: NodeView) -> tuple[float, float]:
    texts = _texts(node)
    widest = max(width(text) * (_TITLE_CHARACTER if kind == "name" else _CHARACTER) for kind, text in texts)
    return max(60.0, widest + 2 * _PADDING), len(texts) * _LINE + 2 * _PADDING - 4


def _node(node: NodeView, box: Box) -> Iterator[str]:
    classes = ["box", node.kind]
    classes += ["hot"] if node.critical else []
    classes += ["maybe"] if node.optional or node.guard else []
    radius = 5 if node.kind == "step" else min(box.h / 2, 18)
    yield f"<g><title>{_xml(_tooltip(node))}</title>"
    shape = f'width="{_num(box.w)}" height="{_num(box.h)}" rx="{_num(radius)}"'
    if node.mapped:  # a second sheet behind: once per element
        yield f'<rect class="{" ".join(classes)}" x="{_num(box.x + 4)}" y="{_num(box.y + 4)}" {shape}/>'
    yield f'<rect class="{" ".join(classes)}" x="{_num(box.x)}" y="{_num(box.y)}" {shape}/>'
    for index, (kind, text) in enumerate(_texts(node)):
        y = box.y + _PADDING + 10 + index * _LINE
        yield f'<text class="{kind}" x="{_num(box.x + _PADDING)}" y="{_num(y)}">{_xml(text)}</text>'
    yield "</g>"


def _tooltip(node: NodeView) -> str:
    slack = f"slack {node.slack}" if node.slack else "on the critical path" if node.critical else ""
    parts = (node.title, *node.lines, node.guard, node.notes, node.price, node.latency, slack)
    return "\n".join(clip(part, 400) for part in parts if part)


def _edge(path: EdgePath, edge: EdgeView, direction: Direction) -> str:
    classes = "wire hot" if edge.critical else "wire order" if edge.order else "wire"
    (x, y), along = path.points[-1], 7.0
    tip = (x - along, y) if direction == "LR" else (x, y - along)
    wing = 3.6
    head = (
        f"M{_num(x)} {_num(y)}L{_num(tip[0])} {_num(tip[1] - wing)}L{_num(tip[0])} {_num(tip[1] + wing)}Z"
        if direction == "LR"
        else f"M{_num(x)} {_num(y)}L{_num(tip[0] - wing)} {_num(tip[1])}L{_num(tip[0] + wing)} {_num(tip[1])}Z"
    )
    line = _curve([*path.points[:-1], tip], direction)
    return f'<path class="{classes}" d="{line}"/><path class="head{classes[4:]}" d="{head}"/>'


def _curve(points: Sequence[tuple[float, float]], direction: Direction) -> str:
    """Join points by lines along the flow and by S-curves between ranks."""
    x, y = points[0]
    parts = [f"M{_num(x)} {_num(y)}"]
    for next_x, next_y in points[1:]:
        middle_x, middle_y = _num((x + next_x) / 2), _num((y + next_y) / 2)
        if x == next_x or y == next_y:
            parts.append(f"L{_num(next_x)} {_num(next_y)}")
        elif direction == "LR":
            parts.append(f"C{middle_x} {_num(y)} {middle_x} {_num(next_y)} {_num(next_x)} {_num(next_y)}")
        else:
            parts.append(f"C{_num(x)} {middle_y} {_num(next_x)} {middle_y} {_num(next_x)} {_num(next_y)}")
        x, y = next_x, next_y
    return "".join(parts)


def _legend(drawn: PlanView, high: float) -> Iterator[str]:
    """Explain only the signs that occur."""
    entries = []
    if any(node.critical for node in drawn.nodes):
        entries.append(("hot", "critical path"))
    if any(node.optional or node.guard for node in drawn.nodes):
        entries.append(("maybe", "optional or conditional"))
    if any(node.mapped for node in drawn.nodes):
        entries.append(("mapped", "once per element"))
    x, y = 16.0, high - 14
    for kind, text in entries:
        if kind == "mapped":
            yield f'<rect class="box step" x="{_num(x + 3)}" y="{_num(y - 6)}" width="16" height="9" rx="2"/>'
        shape = f'x="{_num(x)}" y="{_num(y - 9)}" width="16" height="9" rx="2"'
        yield f'<rect class="box step {kind}" {shape}/>'
        yield f'<text class="soft" x="{_num(x + 24)}" y="{_num(y)}">{text}</text>'
        x += 44 + len(text) * 6.6


def _style() -> str:
    face = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"
    fixed = (
        f".catp-plan text{{font:11.5px {face};white-space:pre}}"
        ".catp-plan .title{font-size:15px;font-weight:600}.catp-plan .name{font-size:13px;font-weight:600}"
        ".catp-plan .box{stroke-width:1.2}.catp-plan .box.hot{stroke-width:2.4}"
        ".catp-plan .box.maybe{stroke-dasharray:5 3}"
        ".catp-plan .wire{fill:none;stroke-width:1.4}.catp-plan .wire.hot{stroke-width:2.6}"
        ".catp-plan .wire.order{stroke-dasharray:3 4}"
    )
    return f"{fixed}{_colours(_LIGHT)}@media(prefers-color-scheme:dark){{{_colours(_DARK)}}}"


def _colours(c: dict[str, str]) -> str:
    rules = {
        ".page": f"fill:{c['page']}",
        "text": f"fill:{c['ink']}",
        ".soft,.guard": f"fill:{c['soft']}",
        ".figure": f"fill:{c['ink']}",
        ".box.step": f"fill:{c['step']};stroke:{c['line']}",
        ".box.input": f"fill:{c['input']};stroke:{c['input-edge']}",
        ".box.output": f"fill:{c['output']};stroke:{c['output-edge']}",
        ".box.hot": f"fill:{c['hot-fill']};stroke:{c['hot']}",
        ".wire": f"stroke:{c['line']}",
        ".wire.hot": f"stroke:{c['hot']}",
        ".head": f"fill:{c['line']}",
        ".head.hot": f"fill:{c['hot']}",
    }
    return "".join(
        ",".join(f".catp-plan {part}" for part in selector.split(",")) + "{" + body + "}"
        for selector, body in rules.items()
    )


def _xml(text: str) -> str:
    return escape(visible(text), {'"': "&quot;"})


def _num(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
