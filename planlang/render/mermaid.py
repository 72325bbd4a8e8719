"""A plan as a Mermaid flowchart, for Markdown files, issues and wikis that draw it themselves."""

from collections.abc import Iterator

from catp.planlang.compiled import CompiledPlan
from catp.planlang.nodes import Plan
from catp.planlang.render.labels import clip, visible
from catp.planlang.render.layout import Direction
from catp.planlang.render.view import NodeView, view

__all__ = ["to_mermaid"]

_SHAPES = {"input": ("([", "])"), "step": ("[", "]"), "output": ("[[", "]]")}
_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:()[]{}=+-_/?!|@$'")
_CLASSES = (
    "classDef critical stroke:#c2410c,stroke-width:3px",
    "classDef write stroke-dasharray:5 3",
    "classDef optional stroke-dasharray:2 3",
)


def to_mermaid(plan: CompiledPlan | Plan, *, direction: Direction = "LR") -> str:
    """Return flowchart source. Node ids are `n0, n1, ...`, and every text is quoted and escaped, so no name or literal
    of a plan can add nodes, links, styles or markup."""
    drawn = view(plan)
    ids = {node.id: f"n{index}" for index, node in enumerate(drawn.nodes)}
    lines = [f"flowchart {'LR' if direction == 'LR' else 'TD'}"]
    if drawn.summary or drawn.approve:
        title = f"{drawn.title}: {drawn.summary}" if drawn.summary else drawn.title
        lines.insert(0, f"---\ntitle: {_title(title)}\n---")
    for node in drawn.nodes:
        opening, closing = _SHAPES[node.kind]
        lines.append(f'    {ids[node.id]}{opening}"{_label(node)}"{closing}')
    hot = []
    for index, edge in enumerate(drawn.edges):
        lines.append(f"    {ids[edge.source]} {'-.->' if edge.order else '-->'} {ids[edge.target]}")
        if edge.critical:
            hot.append(str(index))
    lines += [f"    {line}" for line in _styles(drawn.nodes, ids)]
    if hot:
        lines.append(f"    linkStyle {','.join(hot)} stroke:#c2410c,stroke-width:3px")
    return "\n".join(lines) + "\n"


def _styles(nodes: tuple[NodeView, ...], ids: dict[str, str]) -> Iterator[str]:
    members = {
        "critical": [ids[node.id] for node in nodes if node.critical],
        "write": [ids[node.id] for node in nodes if node.effects == "write"],
        "optional": [ids[node.id] for node in nodes if node.optional],
    }
    for definition in _CLASSES:
        name = definition.split()[1]
        if members[name]:
            yield definition
            yield f"class {','.join(members[name])} {name}"


def _label(node: NodeView) -> str:
    calls = list(node.lines)
    first = f"{node.title}: {calls.pop(0)}" if node.kind == "input" and calls else node.title
    figures = ", ".join(text for text in (node.price, node.latency) if text)
    lines = [first, *calls, node.guard, node.notes, figures]
    return "<br/>".join(_escape(clip(line, 60)) for line in lines if line)


def _escape(text: str) -> str:
    """Write everything that Mermaid, HTML, Markdown or KaTeX could read as markup as a numeric entity."""
    kept = "".join(c if c in _SAFE or (ord(c) > 159 and c.isalpha()) else f"#{ord(c)};" for c in visible(text))
    return kept.replace("$$", "#36;#36;")


def _title(text: str) -> str:
    """Front matter is YAML and knows no entities: anything but plain characters is left out."""
    return '"' + "".join(c for c in clip(text, 120) if c in _SAFE) + '"'
