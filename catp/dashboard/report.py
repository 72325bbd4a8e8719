"""One run as one HTML file: no script, nothing from outside, readable from a disk or a mail, in light and dark.

Everything a tool made is text (escaped, with control and bidirectional characters spelled out) or a picture inside the
file, of one of the formats that browsers only ever show as pictures.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import catp
from catp.dashboard.report_style import STATES, STYLE
from catp.planlang.money import Money, format_usd, parse_usd
from catp.planlang.parser import parse
from catp.planlang.render.labels import clip, time_text, visible
from catp.planlang.render.svg import to_svg

__all__ = ["PICTURES", "Shown", "report"]

PICTURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}
"""First bytes of the pictures that are put in, and their types."""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_NOTE = "Money in US dollars; amounts without a known price are in no sum."
_LEFT, _WIDE, _ROW = 220, 960, 22


class Shown(NamedTuple):
    """An input or output: what `/io` says of it, and its bytes if it is a picture that is small enough."""

    kind: str
    name: str
    about: Mapping[str, Any]
    picture: bytes | None


def report(page: Mapping[str, Any], source: str, ledger: Sequence[Mapping[str, Any]], values: Sequence[Shown]) -> str:
    """Return the page of a run: what `run_page` says of it, its plan, its ledger rows and its values."""
    title = f"{clip(str(page['task']), 120)} – run {page['id']}"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f'<meta http-equiv="content-security-policy" content="{_POLICY}">',
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body><main>",
        f'<h1><bdi>{_text(clip(str(page["task"]), 400))}</bdi></h1>', _figures(page),
        _section("Plan", _plan(source)),
        _section("Timeline", _timeline(page["nodes"])),
        _section("Steps", _steps(page["nodes"])),
        _section("Ledger", _ledger(ledger)),
        *(_section(head, _values([value for value in values if value.kind == kind]))
          for kind, head in (("input", "Inputs"), ("output", "Outputs"))),
        f"<footer>Written by catp {_text(catp.__version__)}. {_NOTE}</footer></main></body></html>\n",
    ]  # fmt: skip
    return "\n".join(parts)


def _text(text: Any) -> str:
    return escape(visible(str(text)))


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>"


def _plan(source: str) -> str:
    drawn = to_svg(parse(source)).replace(' xmlns="http://www.w3.org/2000/svg"', "", 1)  # inside HTML it needs none
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Plan">{drawn}</div>'
        f"<details><summary>Plan text</summary><pre>{_text(source)}</pre></details>"
    )


def _figures(page: Mapping[str, Any]) -> str:
    cost = page["cost"]
    spent = _money(cost["amount"]) + (f" + {cost['unpriced']} unpriced" if cost["unpriced"] else "")
    quality = page.get("quality")
    figures = [
        ("Run", page["id"]), ("Status", _state(page["status"])),
        ("Started", str(page["created"])[:19].replace("T", " ") + " UTC"),
        ("Took", _ms(page["latency_ms"])), ("Critical path", _ms(page["critical_ms"])), ("Cost", spent),
        ("Estimated cost", _money(cost["est"])),
        ("Budget", "none" if page["budget"] is None else _money(page["budget"])),
        ("Planning", _money(page["planning"]["cost"]) if page["planning"]["rows"] else "not charged"),
        ("Quality, measured", "–" if quality is None else f"{quality:.3g}"),
        ("Quality, predicted", "–" if page["predicted_quality"] is None else f"{page['predicted_quality']:.3g}"),
        ("Policy", page["policy"]), ("Project", page["project"]), ("Plan", page["plan_hash"][:12]),
    ]  # fmt: skip
    return f"<dl>{''.join(f'<div><dt>{_text(k)}</dt><dd><bdi>{_text(v)}</bdi></dd></div>' for k, v in figures)}</dl>"


def _money(amount: str | None) -> str:
    return "unpriced" if amount is None else f"${amount}"


def _ms(ms: float | None) -> str:
    return "–" if ms is None else time_text(ms)


def _state(status: str) -> str:
    shape, word = STATES.get(status, ("•", status))
    return f"{shape} {word}"


# --- tables ---------------------------------------------------------------------------------------------------------


def _table(name: str, heads: Sequence[str], rows: Iterable[Sequence[Any]], numbers: int, foot: str = "") -> str:
    """A table; the last `numbers` columns are figures."""
    plain = len(heads) - numbers

    def line(cells: Sequence[Any], tag: str) -> str:
        marked = (
            f"<{tag}{' class=n' if at >= plain else ''}>{_text('–' if cell is None else cell)}</{tag}>"
            for at, cell in enumerate(cells)
        )
        return f"<tr>{''.join(marked)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{name}"><table><thead>{line(heads, "th")}</thead>'
        f"<tbody>{body}</tbody>{foot}</table></div>"
    )


def _steps(nodes: Sequence[Mapping[str, Any]]) -> str:
    rows = (
        (
            node["id"] + (" ◆" if node["critical"] else ""), node["tool"], _state(node["status"]),
            _why(node), node["calls"], _cost(node),
            "–" if node["est"]["source"] is None else _money(node["est"]["cost"]["p50"]),
            _ms(node["actual"]["ms"]), _ms(node["est"]["ms"]["p50"]), _ms(node["slack_ms"]),
        )
        for node in nodes
    )  # fmt: skip
    heads = ("Step", "Tool", "Status", "Why", "Calls", "Cost", "Estimate", "Time", "Estimate", "Slack")
    return _table("Steps", heads, rows, 6) + "<p>◆ on the critical path.</p>"


def _why(node: Mapping[str, Any]) -> str:
    error = node["error"]
    return clip(str(node["reason"] or "" if error is None else f"{error['type']}: {error['reason'] or ''}"), 200)


def _cost(node: Mapping[str, Any]) -> str:
    actual = node["actual"]
    if actual["cost"] is None:
        return "unpriced" if actual["unpriced"] else "–"
    return _money(actual["cost"]) + (f" + {actual['unpriced']} unpriced" if actual["unpriced"] else "")


def _ledger(rows: Sequence[Mapping[str, Any]]) -> str:
    known = [parse_usd(row["amount"]) for row in rows if row["amount"] is not None]
    unpriced = len(rows) - len(known)
    total = f"${format_usd(Money(sum(known)))}" + (f" + {unpriced} unpriced" if unpriced else "")
    lines = (
        (
            row["step"] if row["element"] is None else f"{row['step']}[{row['element']}]", row["attempt"], row["tool"],
            row["kind"], row["source"], row["note"], f"{_quantity(row['quantity'])} {row['unit']}",
            row["unit_price"], _money(row["amount"]),
        )
        for row in rows
    )  # fmt: skip
    heads = ("Step", "Call", "Tool", "Charge", "Source", "Note", "Quantity", "Unit price", "Amount")
    foot = f'<tfoot><tr><th colspan="8">Sum of {len(rows)} rows</th><th class=n>{_text(total)}</th></tr></tfoot>'
    return _table("Ledger", heads, lines, 3, foot)


def _quantity(quantity: float | None) -> str:
    return "?" if quantity is None else f"{quantity:,.6g}"


# --- time -----------------------------------------------------------------------------------------------------------


def _timeline(nodes: Sequence[Mapping[str, Any]]) -> str:
    """One bar per step that started, in the order in which they did; the table of the steps says the same."""
    timed = [node for node in nodes if node["actual"]["start_ms"] is not None]
    if not timed:
        return "<p>No step has started.</p>"
    timed.sort(key=lambda node: node["actual"]["start_ms"])
    last = max(max(node["actual"]["end_ms"] or 0.0, node["actual"]["start_ms"]) for node in timed) or 1.0
    scale = (_WIDE - _LEFT - 90) / last
    marks = []
    for row, node in enumerate(timed):
        start = node["actual"]["start_ms"]
        end = max(start, node["actual"]["end_ms"] or last)
        y, x, wide = row * _ROW, _LEFT + start * scale, max(2.0, (end - start) * scale)
        label = f"{node['id']}: {_state(node['status'])}, {_ms(end - start)} from {_ms(start)}"
        marks.append(
            f"<g><title>{_text(label)}</title>"
            f'<text x="{_LEFT - 8}" y="{y + 15}" text-anchor="end">{_text(clip(node["id"], 28))}</text>'
            f'<rect class="bar{" hot" if node["critical"] else ""}" x="{x:.1f}" y="{y + 4}" width="{wide:.1f}" '
            f'height="{_ROW - 8}" rx="2"/><text x="{x + wide + 6:.1f}" y="{y + 15}">{_text(_ms(end - start))}</text>'
            "</g>"
        )
    high = len(timed) * _ROW
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Timeline"><svg role="img" width="{_WIDE}" '
        f'height="{high}" viewBox="0 0 {_WIDE} {high}"><title>When each step ran; the table of steps has the figures'
        f"</title>{''.join(marks)}</svg></div><p>{_ms(last)} in all; outlined bars are on the critical path.</p>"
    )


# --- values ---------------------------------------------------------------------------------------------------------


def _values(values: Sequence[Shown]) -> str:
    return "".join(_value(value) for value in values) or "<p>None.</p>"


def _value(value: Shown) -> str:
    about = value.about
    head = f"<h3><bdi>{_text(value.name)}</bdi></h3>"
    mime = next((kind for start, kind in PICTURES.items() if (value.picture or b"").startswith(start)), None)
    if value.picture is not None and mime is not None:
        data = base64.b64encode(value.picture).decode()
        return f'{head}<img alt="{_text(value.name)}" src="data:{mime};base64,{data}">'
    if about.get("text") is not None:
        cut = f"<p>Cut; the whole has {about['bytes']:,} bytes.</p>" if about["truncated"] else ""
        return f'{head}<pre dir="auto">{_text(about["text"])}</pre>{cut}'
    if about.get("status", "ok") != "ok":
        return f"{head}<p>{_text(about['status'])}: {_text(about.get('reason') or 'no reason given')}</p>"
    size = "" if about.get("bytes") is None else f", {about['bytes']:,} bytes"
    why = f": {about['error']}" if about.get("error") else ""
    digest = f", sha256 {about['artifact']}" if about.get("artifact") else ""
    return f"{head}<p>Not in this file{_text(why)} ({_text(about.get('mime') or 'no value')}{size}{_text(digest)}).</p>"
