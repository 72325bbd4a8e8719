"""`catp runs approve`: say yes or no to what a run waits for, from any terminal that reaches its store."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from catp.cli.again import to_resume
from catp.cli.approval import command, described, moment
from catp.cli.config import settings_or_fail
from catp.cli.deeds import note
from catp.cli.options import JsonOption
from catp.cli.output import EXIT_FAILED, EXIT_UNREACHABLE, EXIT_USAGE, emit_json, emit_text, fail, printable

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from catp.store.approvals import Approval
    from catp.store.store import RunStore

__all__ = ["approval_cells", "approval_json", "approve"]

T = TypeVar("T")


def approve(
    run_id: Annotated[
        str | None, typer.Argument(help="The run's id, or enough of its start or end; without one, list what waits.")
    ] = None,
    step: Annotated[str | None, typer.Option(help="Which step, if the run waits for more than one answer.")] = None,
    deny: Annotated[bool, typer.Option("--deny", help="Say no.")] = False,
    by: Annotated[str | None, typer.Option(metavar="NAME", help="Who decides; your user name if not given.")] = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the record.")] = "",
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="How long the answer holds: 30m, 1h; as asked if not given.")
    ] = None,
    store: Annotated[str | None, typer.Option("--store", metavar="FILE|URL", help="The store of saved runs.")] = None,
    json_: JsonOption = False,
) -> None:
    """Approve the plan or a step that a run waits for, or list what waits."""
    from catp.store.store import RunStore

    holds_ns = None if expires is None else _nanoseconds(expires)
    saved = RunStore(settings_or_fail(store=store).store)
    try:
        if run_id is None:
            _print_list(_guarded(lambda: _pending(saved, None)), json_=json_)
            return
        run = _guarded(lambda: saved.find(run_id))
        question = _guarded(lambda: _question(saved, run.id, step))
        decided = _guarded(lambda: _decide(saved, question, not deny, by, reason, holds_ns))
        left = _guarded(lambda: _pending(saved, run.id))
        driven = run.status == "running"
    finally:
        saved.close()
    if json_:
        emit_json("catp.approval/1", {**approval_json(decided), "run_status": run.status})
        return
    until = "" if decided.expires_ns is None else f", holds until {moment(decided.expires_ns)}"
    lines = [f"{decided.what} of run {run.id}: {decided.decision} by {decided.decided_by}{until}"]
    lines += [f"still waits: {_line(other)}" for other in left]
    if driven:
        lines.append("the run is going on by itself")
    elif not left:
        lines.append(f"go on with: {to_resume(run.id)}")
    emit_text(printable("\n".join(lines)))


def _question(store: "RunStore", run_id: str, step: str | None) -> "Approval":
    """The open question that is meant; without a step the one about the plan, else the only one."""
    from catp.store.approvals import ApprovalError, get, open_question

    if step is not None:
        return store.database.read(partial(open_question, run_id=run_id, step=step))
    found = _pending(store, run_id)
    chosen = [question for question in found if question.step is None] or found
    if not chosen:
        answered = [q for q in store.database.read(partial(get, run_id=run_id)) if q.decided_by is not None]
        last = f": {answered[-1].what} was {answered[-1].decision} by {answered[-1].decided_by}" if answered else ""
        raise ApprovalError(
            f"nothing in run {run_id} waits for an answer{last}; if it ended as `waiting`, go on with "
            f"`{to_resume(run_id)}`"
        )
    if len(chosen) > 1:
        lines = "\n".join(f"  {_line(question)}" for question in chosen)
        fail(f"run {run_id} waits for several answers; say which with --step\n{lines}", EXIT_USAGE)
    return chosen[0]


def _decide(
    store: "RunStore", question: "Approval", granted: bool, by: str | None, reason: str, holds_ns: int | None
) -> "Approval":
    from catp.approvals import user
    from catp.store.approvals import decide

    now_ns = time.time_ns()
    expires_ns = None if holds_ns is None else now_ns + holds_ns
    name = by or user()

    def work(connection: "Connection") -> "Approval":
        action = "run.approve" if granted else "run.reject"
        note(connection, action, question.run_id, reason=reason, node=question.step, by=name)
        return decide(
            connection, question, granted=granted, by=name, reason=reason, expires_ns=expires_ns, now_ns=now_ns
        )

    return store.database.write(work, durable=True)


def _pending(store: "RunStore", run_id: str | None) -> "list[Approval]":
    from catp.store.approvals import pending

    return store.database.read(partial(pending, run_id=run_id, now_ns=time.time_ns()))


def _guarded(work: Callable[[], T]) -> T:
    from catp.store.approvals import ApprovalError
    from catp.store.errors import StoreError

    try:
        return work()
    except ApprovalError as error:
        fail(str(error), EXIT_FAILED)
    except StoreError as error:
        fail(str(error), EXIT_UNREACHABLE)
    except KeyError as error:
        fail(str(error.args[0]), EXIT_USAGE)


def _nanoseconds(text: str) -> int:
    from catp.planlang.scalars import TextError, read_duration

    try:
        ns = read_duration(text).ns
    except TextError as error:
        fail(f"--expires {text!r}: {error.message}", EXIT_USAGE, help="write a time such as 30m or 1h")
    if ns == 0:
        fail("--expires: an answer must hold for more than no time", EXIT_USAGE, help="write a time such as 30m or 1h")
    return ns


def _print_list(found: "list[Approval]", *, json_: bool) -> None:
    if json_:
        emit_json("catp.approvals/1", {"items": [approval_json(question) for question in found]})
    else:
        emit_text(printable("\n".join(_line(question) for question in found)) if found else "nothing waits")


def _line(question: "Approval") -> str:
    what = question.problem or described(question.step, question.detail, question.cap)
    return f"{command(question)}  # {what}"


def approval_cells(approval: "Approval") -> tuple[str, ...]:
    """Return a question and its answer as cells of a table: when, what, the answer, by whom."""
    what = approval.problem or described(approval.step, approval.detail, approval.cap)
    by = "" if approval.decided_by is None else f"by {approval.decided_by}"
    return moment(approval.requested_ns), approval.decision or "unanswered", by, what, printable(approval.reason or "")


def approval_json(approval: "Approval") -> dict[str, Any]:
    """Return a question and its answer as JSON values."""
    from catp.cli.quotes import usd_json

    return {
        "run": approval.run_id,
        "step": approval.step,
        "plan_digest": approval.digest,
        "cap_usd": usd_json(approval.cap),
        "asked": _iso(approval.requested_ns),
        "expires": _iso(approval.expires_ns),
        "call": dict(approval.detail),
        "decision": approval.decision,
        "by": approval.decided_by,
        "decided": _iso(approval.decided_ns),
        "reason": approval.reason,
        "problem": approval.problem or None,
    }


def _iso(ns: int | None) -> str | None:
    return None if ns is None else datetime.fromtimestamp(ns / 1e9, UTC).isoformat()
