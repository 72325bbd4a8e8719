"""A plan as a tree for terminals.

A step hangs below the value it waits for last; its other sources point to it with an arrow, so nothing is printed
twice. An only child continues straight down: a column is a sequence, a fork is where steps run side by side.

    photo: image
    ● clean = denoise(photo)                    $0.0012   40 ms
    ├─○ seen = detect(clean)                    $0.0003   85 ms
    │ ⇒ boxes = seen.boxes?
    └─● reply = vqa(clean, question)            $0.0040  120 ms
      ⇒ reply
    question: text
    ↪ reply
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from catp.planlang.compiled import CompiledPlan
from catp.planlang.nodes import Plan
from catp.planlang.render.labels import clip, visible, width
from catp.planlang.render.layout import ranks
from catp.planlang.render.view import NodeView, PlanView, view

__all__ = ["to_tree"]


@dataclass(frozen=True, slots=True)
class _Signs:
    critical: str = "● "
    step: str = "○ "
    output: str = "⇒ "
    again: str = "↪ "
    fork: str = "├─"
    last: str = "└─"
    bar: str = "│ "
    ellipsis: str = "…"


_UNICODE = _Signs()
_ASCII = _Signs("* ", "o ", "=> ", "-> ", "|-", "`-", "| ", "...")


@dataclass(frozen=True, slots=True)
class _Row:
    text: str
    figures: tuple[str, str, str] = ("", "", "")


def to_tree(plan: CompiledPlan | Plan, *, ascii_only: bool = False, columns: int = 100) -> str:
    """Return the plan as indented lines with price, latency and slack of each step.

    `columns` bounds how wide a step's text may get before it is cut; deep indentation is never cut. With `ascii_only`
    every character is ASCII, including those inside quoted texts, which are escaped.
    """
    drawn = view(plan)
    signs = _ASCII if ascii_only else _UNICODE
    rows = list(_rows(drawn, signs, columns))
    text_width = max((width(row.text) for row in rows if any(row.figures)), default=0)
    figure_widths = [max((len(row.figures[i]) for row in rows), default=0) for i in range(3)]
    lines = [clip(drawn.title + (f": {drawn.summary}" if drawn.summary else ""), columns, ellipsis=signs.ellipsis)]
    for row in rows:
        padded = [figure.rjust(size) for figure, size in zip(row.figures, figure_widths, strict=True) if size]
        gap = " " * (text_width - width(row.text))
        lines.append("  ".join([row.text + gap, *padded]).rstrip() if any(row.figures) else row.text)
    if drawn.critical_path:
        lines.append(f"{signs.critical}critical path: {' > '.join(drawn.critical_path)}")
    text = "\n".join(map(visible, lines))
    return text.encode("ascii", "backslashreplace").decode() if ascii_only else text


def _rows(drawn: PlanView, signs: _Signs, columns: int) -> Iterator[_Row]:
    """Walk the tree with an explicit stack: a plan may be deeper than Python's call stack."""
    nodes = {node.id: node for node in drawn.nodes}
    children, parent = _family(drawn)
    # An entry is (node, prefix of its first line, prefix of the lines below it, parent it is printed under).
    stack = [(node.id, "", "", "") for node in reversed(drawn.nodes) if node.id not in parent]
    while stack:
        name, first, below, under = stack.pop()
        node = nodes[name]
        if under and parent[name] != under:
            yield _Row(f"{first}{signs.again}{node.title}")
            continue
        room = max(24, columns - len(first))
        yield from _node_rows(node, first, below, signs, room)
        follow = children.get(name, ())
        for index, child in reversed(list(enumerate(follow))):
            if len(follow) == 1:
                stack.append((child, below, below, name))
            elif index == len(follow) - 1:
                stack.append((child, below + signs.last, below + "  ", name))
            else:
                stack.append((child, below + signs.fork, below + signs.bar, name))


def _node_rows(node: NodeView, first: str, below: str, signs: _Signs, room: int) -> Iterator[_Row]:
    if node.kind == "input":
        yield _Row(first + clip(f"{node.title}: {node.lines[0]}", room, ellipsis=signs.ellipsis))
        return
    if node.kind == "output":
        named = f"{node.title} = {node.lines[0]}" if node.lines else node.title
        text = f"{named}{'?' if node.optional else ''}"
        yield _Row(first + signs.output + clip(text, room, ellipsis=signs.ellipsis))
        return
    mark = signs.critical if node.critical else signs.step
    lines = [f"{node.title} = {node.lines[0]}" if node.lines else node.title, *node.lines[1:]]
    lines += [extra for extra in (node.guard, node.notes) if extra]
    figures = (node.price, node.latency, f"slack {node.slack}" if node.slack else "")
    yield _Row(first + mark + clip(lines[0], room, ellipsis=signs.ellipsis), figures)
    for line in lines[1:]:
        yield _Row(f"{below}    {clip(line, room, ellipsis=signs.ellipsis)}")


def _family(drawn: PlanView) -> tuple[Mapping[str, list[str]], Mapping[str, str]]:
    """Return each node's consumers in plan order, and the one source each node is printed below."""
    level = ranks(drawn.graph())
    critical = {edge.target: edge.source for edge in drawn.edges if edge.critical}
    children: dict[str, list[str]] = {}
    parent: dict[str, str] = {}
    for edge in drawn.edges:
        children.setdefault(edge.source, []).append(edge.target)
        known = parent.get(edge.target)
        if known is None or level[edge.source] > level[known]:
            parent[edge.target] = edge.source
    parent.update(critical)
    place = {node.id: index for index, node in enumerate(drawn.nodes)}
    for follow in children.values():
        follow.sort(key=lambda name: (not name.startswith("out:"), place[name]))
    return children, parent
