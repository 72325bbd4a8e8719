"""What `catp run` and `catp runs show` print: the quote, the outputs and the ledger."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catp.cli.again import again
from catp.cli.output import (
    EXIT_FAILED,
    dollars,
    emit_json,
    emit_jsonl,
    emit_text,
    fail,
    milliseconds,
    printable,
)
from catp.cli.quotes import estimate_json, latency_text, planning_text, price_text, usd_json
from catp.cli.values import readable
from catp.planlang.money import Money, format_usd
from catp.planlang.render.labels import clip
from catp.runtime.losses import EAGER
from catp.runtime.planning import PLANNING_STEP

if TYPE_CHECKING:
    from catp.agent import Agent
    from catp.result import Quote, RunResult
    from catp.runtime.ledger import LedgerRow

__all__ = [
    "columns",
    "print_quote",
    "print_result",
    "quote_json",
    "result_json",
    "write_outputs",
]


_REASON_COLUMNS = 120
_SHOWN_CHARACTERS = 4000
_SHOWN_LINES = 60


def print_quote(quote: "Quote") -> None:
    """Print the plan as text and as a tree, then price, latency, critical path, verdict and the planner's notes."""
    from catp.planlang.render.tree import to_tree

    lines = ["Plan", *_indent(quote.text), "", *_indent(to_tree(quote.compiled)), "", "Quote", *_quote_lines(quote)]
    emit_text("\n".join(lines) + "\n")


def print_result(result: "RunResult", agent: "Agent") -> None:
    """Print outputs, the ledger with estimates beside actual figures, and where the run was saved."""
    lines = ["Outputs", *_output_lines(result, agent), "", "Ledger", *ledger_lines(result)]
    lines += ["", f"{result.status.capitalize()}: {_amount(result.ledger)} in {milliseconds(result.wall_ms)}"]
    if result.saved:
        lines[-1] += f", saved as {result.run_id} (catp runs show {result.run_id}{again('store')})"
    lines += [clip(str(e.data["reason"]), 4 * _REASON_COLUMNS) for e in result.trace if e.type == "run.replanned"]
    lines += [f"warning: {clip(warning, 4 * _REASON_COLUMNS)}" for warning in result.warnings]
    emit_text("\n".join(["", *lines]))


def ledger_lines(result: "RunResult") -> list[str]:
    """One line per step: price and time, estimate against actual; the total is the sum of the ledger rows."""
    untimed = result.plan.estimate.untimed
    spent: dict[str, list[LedgerRow]] = {}
    for row in result.ledger:
        spent.setdefault(row.step, []).append(row)
    table = [("step", "tool", "estimate", "actual", "estimate", "actual", "status")]
    table += [
        (row.step, row.tool, "", _amount([row]), "", milliseconds(row.quantity * 1e3), _plan_status(row))
        for row in spent.get(PLANNING_STEP, ())
    ]
    for name, step in result.steps.items():
        estimate = result.plan.estimate.steps.get(name)  # type: ignore[call-overload]
        rows = spent.get(name, [])
        table.append(
            (
                name,
                step.tool or "",
                dollars(estimate.price.expected) if estimate else "",
                _amount(rows) if step.attempts else "-",
                "unknown" if name in untimed else milliseconds(estimate.latency.expected_ms) if estimate else "",
                milliseconds((step.ended_ns - step.started_ns) / 1e6) if step.started_ns and step.ended_ns else "",
                step.status + (f" ({clip(step.reason, _REASON_COLUMNS)})" if step.reason else ""),
            )
        )
    estimate_total = dollars(result.plan.estimate.price.expected)
    total_ms = "unknown" if untimed else milliseconds(result.plan.estimate.latency.expected_ms)
    table.append(("total", "", estimate_total, _amount(result.ledger), total_ms, milliseconds(result.wall_ms), ""))
    cold = sum(row.amount or 0 for row in result.ledger if row.kind == "cold_start")
    notes = [f"  of which cold starts: {dollars(Money(cold))}"] if cold else []
    guessed = sum(row.amount or 0 for row in result.ledger if not row.priced)
    notes += [f"  of which estimated, since nobody knows what was used: {dollars(Money(guessed))}"] if guessed else []
    adopted = _eager_json(result)["adopted"]
    if adopted:
        notes.append(f"  started early, while the plan was made: {adopted} call{'s' * (adopted != 1)}")
    hits = sum(row.kind == "cache" for row in result.ledger)
    if hits:
        notes.append(f"  saved by {hits} kept result{'s' * (hits != 1)}: {dollars(result.savings)}")
    return columns(table, right=(2, 3, 4, 5)) + notes


def _plan_status(row: "LedgerRow") -> str:
    return f"started early, not used ({clip(row.note, _REASON_COLUMNS)})" if row.kind == EAGER else "ok"


def columns(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Align cells in columns, two spaces apart; columns listed in `right` are flush right."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = []
    for row in cells:
        padded = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append(("  " + "  ".join(padded)).rstrip())
    return lines


def quote_json(quote: "Quote") -> dict[str, Any]:
    """The quote as JSON values."""
    return {
        "task": quote.task,
        "planner": quote.planner,
        "planning": None if quote.planning is None else quote.planning.to_json(),
        **estimate_json(quote.compiled, quote.verdict),
        "quality": quote.quality,
        "utility": quote.utility,
        "alpha": quote.alpha,
        "given_up": [
            {"output": one.output, "saves_usd": usd_json(one.saves), "reason": one.reason} for one in quote.given_up
        ],
        "notes": list(quote.notes),
    }


def result_json(result: "RunResult", *, one_line: bool = False) -> None:
    """Print the result as one JSON document (or one line of a JSONL stream)."""
    document = {
        "run": result.run_id,
        "status": result.status,
        "spent_usd": format_usd(result.spent),
        "savings_usd": format_usd(result.savings),
        "unpriced_rows": result.unpriced,
        "wall_ms": result.wall_ms,
        "saved": result.saved,
        "warnings": list(result.warnings),
        "outputs": [
            {"name": name, "status": out.status, "reason": out.reason, "value": _value_json(out.value)}
            for name, out in result.results.items()
        ],
        "refusals": [
            {
                "step": one.step,
                "element": one.element,
                "attempt": one.attempt,
                "tool": one.tool,
                **one.refused.to_json(),
            }
            for one in result.refusals
        ],
        "eager": _eager_json(result),
        "ledger": [_ledger_json(row) for row in result.ledger],
        "quote": quote_json(result.quote),
    }
    (emit_jsonl if one_line else emit_json)("catp.run/1", document)


def write_outputs(result: "RunResult", folder: Path) -> None:
    """Write every output as a file: images as PNG, texts as .txt, records as .json."""
    endings = {
        "image/png": ".png",
        "image/tiff": ".tiff",
        "text/plain; charset=utf-8": ".txt",
        "application/json": ".json",
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in result.outputs.items():
            artifact = readable(value)
            (folder / f"{name}{endings.get(artifact.mime, '.bin')}").write_bytes(artifact.data)
    except OSError as error:
        fail(f"cannot write the outputs to {folder}: {error.strerror or error}", EXIT_FAILED)


def _quote_lines(quote: "Quote") -> list[str]:
    estimate = quote.compiled.estimate
    work = "" if estimate.untimed else f" ({milliseconds(estimate.serial_ms)} of work)"
    rows = [
        ("price", price_text(estimate)),
        ("latency", latency_text(estimate) + work),
        ("critical", " > ".join(estimate.critical_path) or "-"),
    ]
    if quote.quality is not None:
        rows.append(
            (
                "quality",
                f"{quote.quality:.2f} predicted" + (f", alpha {quote.alpha:g}" if quote.alpha is not None else ""),
            )
        )
    if quote.planning is not None:
        rows.append(("planning", planning_text(quote.planning)))
    if quote.early is not None and quote.early.count:
        lost = f", those not in this plan cost ${format_usd(quote.early.lost)}" if quote.early.lost else ""
        rows.append(("eager", f"{quote.early.count} calls started while it was planned{lost}"))
    rows += [("limit", d.message) for d in quote.verdict.diagnostics]
    rows += [("note", note) for note in quote.notes]
    return columns(rows)


def _output_lines(result: "RunResult", agent: "Agent") -> list[str]:
    rows = []
    for name, output in result.results.items():
        if output.status != "ok":
            rows.append((name, f"({output.status}: {output.reason})"))
            continue
        rows.append((name, _shown(output.value, agent if result.saved else None)))
    width = max((len(name) for name, _ in rows), default=0)
    return [
        line
        for name, text in rows
        for line in _indent(f"{name.ljust(width)}  " + ("\n" + " " * (width + 2)).join(printable(text).split("\n")))
    ]


def _shown(value: Any, agent: "Agent | None") -> str:
    text = _in_words(value, agent)
    lines = text[:_SHOWN_CHARACTERS].split("\n")
    shown = "\n".join(lines[:_SHOWN_LINES])
    if len(shown) == len(text):
        return text
    return f"{shown}\n… ({len(text):,} characters; --output DIR or --json gives all of it)"


def _in_words(value: Any, agent: "Agent | None") -> str:
    if hasattr(value, "save") and hasattr(value, "size"):
        text = f"image {value.size[0]} x {value.size[1]}"
        if agent is not None and agent.store is not None:
            return f"{text}: {agent.store.locate(readable(value).sha256)}"
        return text
    if isinstance(value, str):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return ", ".join(f"{f.name}={_short(getattr(value, f.name))}" for f in dataclasses.fields(value))
    return _short(value)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list | tuple) and all(isinstance(item, str | int | float) for item in value):
        return "; ".join(_short(item) for item in value)
    if isinstance(value, str | int) or value is None:
        return str(value)
    return readable(value).data.decode("utf-8", "replace")


def _value_json(value: Any) -> Any:
    artifact = readable(value)
    if artifact.mime == "application/json":
        return json.loads(artifact.data)
    if artifact.mime.startswith("text/"):
        return value if isinstance(value, str) else artifact.data.decode()
    size = {"width": artifact.width, "height": artifact.height} if artifact.width else {}
    return {"artifact": artifact.sha256, "mime": artifact.mime, "bytes": len(artifact.data), **size}


def _eager_json(result: "RunResult") -> Mapping[str, Any]:
    """Calls that were started while the plan was made: how many steps took one, how many nobody took, their price."""
    lost = [row for row in result.ledger if row.kind == EAGER]
    return {
        "adopted": sum(event.type == "node.started" and "early" in event.data for event in result.trace),
        "lost": len(lost),
        "lost_usd": format_usd(Money(sum(row.amount or 0 for row in lost))),
    }


def _ledger_json(row: "LedgerRow") -> Mapping[str, Any]:
    return {
        "seq": row.seq, "step": row.step, "attempt": row.attempt, "element": row.element, "tool": row.tool,
        "kind": row.kind, "quantity": row.quantity, "unit": row.unit, "unit_price_usd": row.unit_price_usd,
        "amount_usd": usd_json(row.amount), "source": row.source, "priced": row.priced,
        "overrun": row.overrun, "note": row.note,
    }  # fmt: skip


def _amount(rows: "Sequence[LedgerRow]") -> str:
    """The sum of the rows; what nobody knows is said, never counted as 0."""
    known = [row.amount for row in rows if row.amount is not None]
    if len(known) == len(rows):
        return dollars(Money(sum(known)))
    return f"{dollars(Money(sum(known)))} + unpriced" if known else "unpriced"


def _indent(text: str) -> list[str]:
    return [f"  {line}".rstrip() for line in text.rstrip("\n").split("\n")]
