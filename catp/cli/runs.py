"""`catp runs list|show|score`: what ran, what it cost, what came out, how good it was."""

import json
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catp.cli.config import settings_or_fail
from catp.cli.options import JsonOption
from catp.cli.output import EXIT_UNREACHABLE, EXIT_USAGE, dollars, emit_json, emit_text, fail, milliseconds
from catp.cli.quotes import money_json, usd_json
from catp.cli.report import columns
from catp.cli.runs_approve import approval_cells, approval_json, approve
from catp.cli.runs_cancel import cancel
from catp.cli.runs_export import export
from catp.cli.runs_replay import fork, replay
from catp.cli.runs_resume import resume
from catp.cli.runs_score import score
from catp.planlang.money import Money
from catp.store.store import RunStore, RunSummary, StoredRun, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from catp.store.approvals import Approval

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

StoreOption = Annotated[str | None, typer.Option("--store", metavar="FILE|URL", help="The store of saved runs.")]


@app.callback()
def group() -> None:
    """List and show saved runs, go on with them, fork and replay them."""


@app.command("list")
def list_runs(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many runs.")] = 20,
    before: Annotated[str | None, typer.Option(help="Continue after this run id.")] = None,
    project: Annotated[str | None, typer.Option(help="Only runs of this project.")] = None,
    status: Annotated[str | None, typer.Option(help="Only runs with this status, such as interrupted.")] = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """List saved runs, newest first."""
    runs = _read(store, lambda s: s.list(limit=limit, before=before, project=project, status=status))
    if json_:
        following = runs[-1].id if len(runs) == limit else None
        emit_json("catp.runs/1", {"items": [_summary_json(run) for run in runs], "next": following})
        return
    if not runs and (before or project or status):
        emit_text("no such runs")
        return
    if not runs:
        emit_text('no runs yet; try: catp run "read this page" --input page=examples/scan.png')
        return
    table = [("run", "started", "status", "cost", "estimate", "time", "task")]
    table += [
        (
            run.id, _time(run.created_ns), run.status, _cost(run), dollars(run.estimate.expected),
            milliseconds(run.latency_ms) if run.latency_ms is not None else "-", run.task[:60],
        )
        for run in runs
    ]  # fmt: skip
    emit_text("\n".join(columns(table, right=(3, 4, 5))))


@app.command()
def show(
    run_id: Annotated[str, typer.Argument(help="The run's id, or enough of its start or end.")],
    events: Annotated[bool, typer.Option("--events", help="Also print every event.")] = False,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Show one run: its plan, outputs and ledger."""
    run, asked = _read(store, lambda s: _with_approvals(s, run_id))
    if json_:
        answers = {"approvals": [approval_json(approval) for approval in asked]}
        emit_json("catp.run-record/1", {**_run_json(run, with_events=events), **answers})
        return
    summary = run.summary
    lines = [f"Run {summary.id}: {summary.status}", f"  {summary.task}", "", "Plan"]
    if summary.quality is not None:
        lines.insert(1, f"  quality {summary.quality:g}, as it was scored")
    lines += [f"  {line}" for line in run.plan_source.rstrip().split("\n")] + ["", "Outputs"]
    lines += columns([(o.name, _output_text(o)) for o in run.outputs]) if run.outputs else ["  -"]
    lines += ["", "Ledger", *_ledger(run)]
    if asked:
        lines += ["", "Approvals", *columns([approval_cells(approval) for approval in asked])]
    if events:
        lines += ["", "Events", *columns([_event_cells(e) for e in run.events])]
    emit_text("\n".join(lines))


app.command()(approve)
app.command()(resume)
app.command()(cancel)
app.command()(fork)
app.command()(replay)
app.command()(export)
app.command()(score)


def _with_approvals(store: RunStore, run_id: str) -> "tuple[StoredRun, list[Approval]]":
    from catp.store.approvals import get

    run = store.get(run_id)
    return run, store.database.read(partial(get, run_id=run.summary.id))


def _ledger(run: StoredRun) -> list[str]:
    table = [("step", "call", "tool", "charge", "quantity", "amount", "source", "note")]
    for row in run.costs:
        amount = dollars(None if row["amount_nano"] is None else Money(row["amount_nano"]))
        if row["amount_nano"] is not None and not row["priced"]:
            amount += " assumed"
        quantity = f"{'?' if row['quantity'] is None else format(row['quantity'], '.6g')} {row['unit']}"
        call = str(row["attempt"]) if row["element"] is None else f"[{row['element']}] {row['attempt']}"
        saved = f"saved {dollars(Money(row['saved_nano']))}" if row["saved_nano"] else ""
        note = row["note"] or ("above its reservation" if row["overrun"] else saved)
        table.append((row["step"], call, row["tool"], row["kind"], quantity, amount, row["source"], note))
    in_all = f"saved {dollars(run.summary.saved)}" if run.summary.saved else ""
    table.append(("total", "", "", "", "", _cost(run.summary), "", in_all))
    return columns(table, right=(4, 5))


def _read(target: str | None, question: "Callable[[RunStore], Any]") -> Any:
    store = RunStore(settings_or_fail(store=target).store)
    try:
        return question(store)
    except StoreError as error:
        fail(str(error), EXIT_UNREACHABLE)
    except KeyError as error:
        fail(str(error.args[0]), EXIT_USAGE)
    finally:
        store.close()


def _cost(run: RunSummary) -> str:
    if not run.unpriced:
        return dollars(run.cost)
    return f"{dollars(run.cost)} + unpriced" if run.cost else "unpriced"


def _output_text(output: Any) -> str:
    if output.status != "ok":
        return f"({output.status}: {output.reason})"
    if output.text is not None:
        return str(output.text).replace("\n", " / ")[:200]
    return f"{output.mime} {output.sha256}"


def _event_cells(event: Any) -> tuple[str, ...]:
    at = datetime.fromtimestamp(event.at_ns / 1e9, UTC).strftime("%H:%M:%S.%f")[:-3]
    return str(event.seq), at, event.type, event.step or "", json.dumps(dict(event.data))


def _time(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9).astimezone().strftime("%Y-%m-%d %H:%M")


def _iso(ns: int | None) -> str | None:
    return None if ns is None else datetime.fromtimestamp(ns / 1e9, UTC).isoformat()


def _summary_json(run: RunSummary) -> dict[str, Any]:
    return {
        "id": run.id,
        "project": run.project,
        "agent": run.agent,
        "parent": run.parent,
        "task": run.task,
        "policy": run.policy,
        "plan_digest": run.plan_hash,
        "status": run.status,
        "created": _iso(run.created_ns),
        "ended": _iso(run.ended_ns),
        "estimate_usd": money_json(run.estimate),
        "cost_usd": usd_json(run.cost),
        "saved_usd": usd_json(run.saved),
        "unpriced_rows": run.unpriced,
        "budget_usd": usd_json(run.budget),
        "latency_ms": run.latency_ms,
        "estimated_latency_ms": run.est_latency_ms,
        "alpha": run.alpha,
        "predicted_quality": run.predicted_quality,
        "quality": run.quality,
    }


def _run_json(run: StoredRun, *, with_events: bool) -> dict[str, Any]:
    costs = [
        {**{k: v for k, v in row.items() if k not in ("run_id", "amount_nano", "estimate_nano", "saved_nano")},
         "amount_usd": usd_json(row["amount_nano"]), "estimate_usd": usd_json(row["estimate_nano"]),
         "saved_usd": usd_json(row["saved_nano"])}
        for row in run.costs
    ]  # fmt: skip
    document = {
        **_summary_json(run.summary),
        "plan": run.plan_source,
        "outputs": [
            {
                "name": o.name,
                "status": o.status,
                "reason": o.reason,
                "mime": o.mime,
                "text": o.text,
                "artifact": o.sha256,
            }
            for o in run.outputs
        ],
        "ledger": costs,
    }
    if with_events:
        document["events"] = [event.to_json() for event in run.events]
    return document
