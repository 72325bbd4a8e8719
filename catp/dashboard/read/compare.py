"""Two to five runs beside each other: figures, one merged graph, what each step added to the price, aligned times.

    cost of B = cost of A + sum over steps of (cost in B - cost in A) + (planning of B - planning of A)

in nano-USD, so the waterfall always closes; rows without a price are in neither side and are counted beside it.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from sqlalchemy import Connection

from catp.dashboard.forms import usd
from catp.dashboard.read.compare_graph import LETTERS, MergedNode, merge, place
from catp.dashboard.read.run_page import run_page
from catp.planlang.money import parse_usd
from catp.runtime.planning import PLANNING_STEP
from catp.store import queries
from catp.store.statements import query

__all__ = ["compare"]

_Page = Mapping[str, Any]

_SHOWN = (
    "id", "task", "project", "agent", "policy", "plan_hash", "status", "created", "ended", "parent", "fork_step",
    "cost", "budget", "deadline_ms", "alpha", "latency_ms", "critical_ms", "quality", "predicted_quality", "planning",
)  # fmt: skip


class _Spent(NamedTuple):
    """The ledger rows of one step: sum of the known amounts, rows without one."""

    nano: int
    unpriced: int


def compare(connection: Connection, ids: Sequence[str], pair: tuple[int, int], store: str) -> dict[str, Any]:
    """Return the comparison without outputs; `pair` are the places of the two runs that the waterfall leads between.

    Raises `KeyError` for a run that is not there; `ids` are full.
    """
    pages = [run_page(connection, id_, store) for id_ in ids]
    steps = [{node["id"]: node for node in page["nodes"]} for page in pages]
    sources = [queries.plan_source(connection, page["plan_hash"]) for page in pages]
    merged = merge(sources, [{name: node["tool"] for name, node in of.items()} for of in steps])
    spent = [_spent(connection, page["id"]) for page in pages]
    order = list(dict.fromkeys(node.name for node in merged.nodes if node.kind == "step"))
    return {
        "runs": [{key: page.get(key) for key in _SHOWN} for page in pages],
        "kpi": _kpi(pages, steps),
        "graph": {
            "nodes": [_node(node, pages, steps) for node in merged.nodes],
            "boxes": {node.id: _box(node, steps, pair) for node in merged.nodes if node.kind == "step"},
            "edges": [
                {"from": source, "to": target, "in": [ids[at] for at in of]}
                for (source, target), of in merged.edges.items()
            ],
            "labels": {node.id: label for node in merged.nodes if (label := _label(node)) is not None},
            "differ": sum(node.kind == "step" and node.change != "same" for node in merged.nodes),
            "layout": {"hash": ",".join(ids), **place(merged)},
        },
        "waterfall": _waterfall(order, ids, spent, pair),
        "gantt": _gantt(order, ids, steps),
    }  # fmt: skip


def _spent(connection: Connection, run_id: str) -> dict[str, _Spent]:
    rows = query(
        connection, "SELECT step, COALESCE(SUM(amount_nano), 0) AS nano, COUNT(*) - COUNT(amount_nano) AS unpriced "
        "FROM costs WHERE run_id = ? GROUP BY step", run_id,
    )  # fmt: skip
    return {row.step: _Spent(int(row.nano), int(row.unpriced)) for row in rows}


# --- figures --------------------------------------------------------------------------------------------------------


def _kpi(pages: Sequence[_Page], steps: Sequence[Mapping[str, _Page]]) -> list[dict[str, Any]]:
    money = [
        ("cost", [page["cost"]["amount"] for page in pages], "low"),
        ("estimated cost", [page["cost"]["est"] for page in pages], "low"),
        ("planning", [page["planning"]["cost"] if page["planning"]["rows"] else "0" for page in pages], "low"),
        ("saved by the cache", [page["cost"]["saved"] for page in pages], "high"),
    ]
    plain = [
        ("latency", "ms", [page["latency_ms"] for page in pages], "low"),
        ("critical path", "ms", [page["critical_ms"] for page in pages], "low"),
        ("quality, measured", "", [page.get("quality") for page in pages], "high"),
        ("quality, predicted", "", [page["predicted_quality"] for page in pages], "high"),
        ("steps", "", [page["progress"]["total"] for page in pages], None),
        ("calls", "", [sum(int(node["calls"]) for node in of.values()) for of in steps], None),
        ("steps failed", "", [sum(n["status"] == "failed" for n in of.values()) for of in steps], "low"),
        ("ledger rows without a price", "", [page["cost"]["unpriced"] for page in pages], "low"),
    ]  # fmt: skip
    return [
        {"id": name, "name": name, "unit": "USD", "values": values, "delta": _money_deltas(values), "better": better}
        for name, values, better in money
    ] + [
        {"id": name, "name": name, "unit": unit, "values": values, "delta": _deltas(values), "better": better}
        for name, unit, values, better in plain
    ]


def _money_deltas(values: Sequence[str | None]) -> list[str | None]:
    nano = [None if value is None else int(parse_usd(value)) for value in values]
    return [usd(delta) for delta in _deltas(nano)]


def _deltas(values: Sequence[Any]) -> list[Any]:
    """Differences to the first value; None where either is unknown."""
    first = values[0]
    return [None if None in (value, first) else round(value - first, 9) for value in values]


# --- graph, waterfall, times ----------------------------------------------------------------------------------------


def _node(node: MergedNode, pages: Sequence[_Page], steps: Sequence[Mapping[str, _Page]]) -> dict[str, Any]:
    of = {pages[at]["id"]: steps[at].get(node.name) for at in node.of}
    seen = {run: found for run, found in of.items() if found is not None} if node.kind == "step" else {}
    return {
        "id": node.id, "step": node.name if node.kind == "step" else None, "title": node.name, "kind": node.kind,
        "in": list(of), "change": node.change,
        "lines": [f"{LETTERS[at]}: {text}" for at, text in node.text.items()],
        "each": [_in_run(node, LETTERS[at], pages[at]["id"], seen.get(pages[at]["id"])) for at in node.of],
        "tools": {run: found["tool"] for run, found in seen.items()},
        "cost": {run: found["actual"]["cost"] for run, found in seen.items()},
        "unpriced": {run: found["actual"]["unpriced"] for run, found in seen.items()},
        "ms": {run: found["actual"]["ms"] for run, found in seen.items()},
        "status": {run: found["status"] for run, found in seen.items()},
    }  # fmt: skip


def _in_run(node: MergedNode, letter: str, run: str, found: _Page | None) -> dict[str, Any]:
    """A step in one of the runs, as a row of a table."""
    row = {"id": run, "letter": letter, "step": node.name, "text": node.text[LETTERS.index(letter)]}
    if found is None:
        return row
    actual = found["actual"]
    return {**row, "status": found["status"], "tool": found["tool"], "cost": actual["cost"], "ms": actual["ms"]}


def _label(node: MergedNode) -> dict[str, str] | None:
    """What marks a node on the drawing: a sign and a word; the first run is A."""
    if node.change == "only":
        sign, kind = ("\N{MINUS SIGN}", "warn") if node.of[0] == 0 else ("\N{FULLWIDTH PLUS SIGN}", "busy")
        return {"text": f"{sign} only {', '.join(LETTERS[at] for at in node.of)}", "kind": kind}
    word = {"tool": "\N{NOT EQUAL TO} tool", "args": "\N{NOT EQUAL TO} changed"}.get(node.change)
    return None if word is None else {"text": word, "kind": "bad"}


def _box(node: MergedNode, steps: Sequence[Mapping[str, _Page]], pair: tuple[int, int]) -> dict[str, Any]:
    """A step as the drawing shows it: as it went in the second run of the pair, else in the first, else in any."""
    at = next(at for at in (pair[1], pair[0], *node.of) if at in node.of)
    found = steps[at].get(node.name)
    used = dict.fromkeys(str(of[node.name]["tool"]) for place, of in enumerate(steps) if place in node.of)
    return {
        "tool": " \N{RIGHTWARDS ARROW} ".join(used), "status": None if found is None else found["status"],
        "actual": {} if found is None else {key: found["actual"][key] for key in ("cost", "unpriced", "ms")},
    }  # fmt: skip


def _waterfall(
    order: Sequence[str], ids: Sequence[str], spent: Sequence[Mapping[str, _Spent]], pair: tuple[int, int]
) -> dict[str, Any]:
    nothing = _Spent(0, 0)
    before, after = (spent[at] for at in pair)
    others = sorted({*before, *after} - {*order, PLANNING_STEP})
    start, end = (sum(one.nano for one in of.values()) for of in (before, after))
    changes = [
        (step, after.get(step, nothing).nano - before.get(step, nothing).nano,
         before.get(step, nothing).unpriced + after.get(step, nothing).unpriced)
        for step in [*order, *others, PLANNING_STEP]
    ]  # fmt: skip
    shown = [change for change in changes if change[1] or change[2]]
    totals = accumulate((delta for _, delta, _ in shown), initial=start)
    next(totals)
    return {
        "from": ids[pair[0]], "to": ids[pair[1]], "start": usd(start), "end": usd(end), "delta": usd(end - start),
        "bars": [
            {
                "id": step, "step": "planning" if step == PLANNING_STEP else step,
                "kind": "planning" if step == PLANNING_STEP else "step",
                "from": usd(total - delta), "delta": usd(delta), "total": usd(total), "unpriced": unpriced,
            }
            for (step, delta, unpriced), total in zip(shown, totals, strict=True)
        ],
        "unchanged": sum(1 for step, delta, unpriced in changes if not (delta or unpriced) and step != PLANNING_STEP),
    }  # fmt: skip


def _gantt(order: Sequence[str], ids: Sequence[str], steps: Sequence[Mapping[str, _Page]]) -> dict[str, Any]:
    """One row per step with the time it took in each run, from the creation of the run; `ms` is the longest."""
    rows, last = [], 0.0
    for step in order:
        times = {}
        for run, of in zip(ids, steps, strict=True):
            actual = of[step]["actual"] if step in of else {}
            if actual.get("start_ms") is None:
                continue
            last = max(last, actual["end_ms"] or actual["start_ms"])
            times[run] = {
                "start_ms": actual["start_ms"], "end_ms": actual["end_ms"], "ms": actual["ms"],
                "status": of[step]["status"], "cached": of[step]["cached"], "critical": of[step]["critical"],
            }  # fmt: skip
        rows.append({"id": step, "step": step, "runs": times})
    return {"ms": round(last, 3), "rows": rows}
