"""Questions whether a plan or a step may run, and the answers: rows of `approvals`.

    request ──> open ──> granted | denied    by the first who decides; whoever comes second is told who was first
                  └────> withdrawn           asked again, because the plan, the cap or the time has changed

An answer holds for one plan digest, up to one cap, until one moment. `standing` finds the answer that still holds;
where there is none the question is asked anew. A damaged row never grants anything: it is shown, and asked again.

Every function takes an open SQLAlchemy connection inside a transaction; times are Unix nanoseconds, money nano-USD.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, insert, select, update

from catp.planlang.money import Money, format_usd
from catp.store.tables import approvals, runs

__all__ = ["Approval", "ApprovalError", "decide", "get", "look", "open_question", "pending", "request", "standing"]

_PLAN: Final = ""
"""What stands in the `step` column for the whole plan."""

_DECISIONS: Final = (None, "granted", "denied", "withdrawn")
_ALIVE: Final = ("running", "waiting")


class ApprovalError(RuntimeError):
    """A decision that cannot be made; the message says why (nothing asked, already decided, expired, damaged) and what
    to do instead."""


@dataclass(frozen=True, slots=True)
class Approval:
    """One question, and its answer if there is one.

    `step` is None for the whole plan. `detail` says what would be called (JSON values, see `catp.approvals`). `problem`
    is not empty if the row is damaged; its other fields are then what could be read of it.
    """

    run_id: str
    step: str | None
    requested_ns: int
    digest: str
    cap: Money | None
    expires_ns: int | None
    detail: Mapping[str, Any]
    decision: str | None = None
    decided_by: str | None = None
    decided_ns: int | None = None
    reason: str | None = None
    problem: str = ""

    @property
    def granted(self) -> bool:
        """True if somebody agreed (which may not hold any more)."""
        return self.decision == "granted" and not self.problem

    @property
    def what(self) -> str:
        """What the question is about, in words."""
        return "the plan" if self.step is None else f"step {self.step}"

    def expired(self, now_ns: int) -> bool:
        """True if the question, or its answer, is out of date."""
        return self.expires_ns is not None and self.expires_ns <= now_ns

    def open_for(self, digest: str, cap: Money | None, now_ns: int) -> bool:
        """True if this very question still waits for an answer."""
        waits = self.decision is None and not self.problem and not self.expired(now_ns)
        return waits and (self.digest, self.cap) == (digest, cap)

    def holds(self, digest: str, cap: Money | None, now_ns: int) -> bool:
        """True if this is an answer, and it answers the same question about `digest` with up to `cap`.

        A yes covers every smaller cap; a no covers every larger one.
        """
        if self.problem or self.decision not in ("granted", "denied"):
            return False
        covers = _within(cap, self.cap) if self.granted else _within(self.cap, cap)
        return self.digest == digest and covers and not self.expired(now_ns)


def request(
    connection: Connection,
    run_id: str,
    step: str | None,
    *,
    digest: str,
    cap: Money | None,
    detail: Mapping[str, Any],
    expires_ns: int | None,
    now_ns: int,
) -> Approval:
    """Ask whether a step (None: the plan) may run; the same question asked twice stays one.

    What was open about the same step, but for another plan or cap or for too short a time, is withdrawn.
    """
    earlier = _about(connection, run_id, step)
    for known in earlier:
        if known.open_for(digest, cap, now_ns):
            return known
    latest = earlier[0].requested_ns if earlier else 0
    connection.execute(
        update(approvals)
        .where(*_key(run_id, step), approvals.c.decision.is_(None))
        .values(decision="withdrawn", decided_ns=now_ns, reason="asked again")
    )
    made = Approval(run_id, step, max(now_ns, latest + 1), digest, cap, expires_ns, detail)  # a clock may run backwards
    connection.execute(
        insert(approvals).values(
            run_id=run_id, step=_column(step), requested_ns=made.requested_ns, plan_hash=digest, cap_nano=cap,
            expires_ns=expires_ns, detail_json=json.dumps(dict(detail)),
        )
    )  # fmt: skip
    return made


def standing(
    connection: Connection, run_id: str, step: str | None, *, digest: str, cap: Money | None, now_ns: int
) -> Approval | None:
    """Return the latest answer that holds for this plan, cap and moment, or None if the question must be asked."""
    return next((known for known in _about(connection, run_id, step) if known.holds(digest, cap, now_ns)), None)


def decide(
    connection: Connection,
    approval: Approval,
    *,
    granted: bool,
    by: str,
    reason: str = "",
    expires_ns: int | None = None,
    cap: Money | None = None,
    now_ns: int,
) -> Approval:
    """Answer an open question. The first answer counts.

    Args:
        connection: Where the question is stored.
        approval: The question as it was shown to whoever decides.
        granted: Yes or no.
        by: Who decides.
        reason: Why, in words.
        expires_ns: Until when the answer holds; by default as long as the question does.
        cap: A yes to a whole plan that may spend no more than this, by default what was asked for.
        now_ns: The time of the decision.

    Raises:
        ApprovalError: it was decided or withdrawn before, has expired or is damaged, or its run is over; or `cap` is
            more than was asked for, or goes with a no or with a step.
    """
    run_id, what = approval.run_id, approval.what
    again = f"`catp runs resume {run_id}` asks again"
    if approval.problem:
        raise ApprovalError(f"the question about {what} of run {run_id} is damaged: {approval.problem}; {again}")
    status = connection.execute(select(runs.c.status).where(runs.c.id == run_id)).scalar()
    if status not in _ALIVE:
        raise ApprovalError(f"run {run_id} is {status or 'gone'}; nothing in it waits for an approval any more")
    if approval.expired(now_ns):
        raise ApprovalError(f"the question about {what} of run {run_id} has expired; {again}")
    if cap is not None:
        _check_cap(approval, cap, granted)
    values = {
        "decision": "granted" if granted else "denied",
        "decided_by": by,
        "decided_ns": now_ns,
        "reason": reason or None,
        "expires_ns": approval.expires_ns if expires_ns is None else expires_ns,
        "cap_nano": approval.cap if cap is None else cap,
    }
    same = (*_key(run_id, approval.step), approvals.c.requested_ns == approval.requested_ns)
    done = connection.execute(update(approvals).where(*same, approvals.c.decision.is_(None)).values(values))
    found = look(connection, approval)
    if found is None:
        raise ApprovalError(f"there is no such question about {what} of run {run_id}")
    if done.rowcount != 1:
        raise ApprovalError(_taken(found))
    return found


def _check_cap(approval: Approval, cap: Money, granted: bool) -> None:
    if not granted or approval.step is not None:
        raise ApprovalError(f"a cap goes with a yes to a whole plan, not with {approval.what}; leave it out")
    if cap <= 0 or not _within(cap, approval.cap):
        asked = "any amount" if approval.cap is None else f"up to ${format_usd(approval.cap)}"
        raise ApprovalError(
            f"run {approval.run_id} asks whether it may spend {asked}; a yes can be to less, not to ${format_usd(cap)}"
        )


def look(connection: Connection, approval: Approval) -> Approval | None:
    """Return what has become of a question; None if its row is gone."""
    key = (*_key(approval.run_id, approval.step), approvals.c.requested_ns == approval.requested_ns)
    row = connection.execute(select(approvals).where(*key)).first()
    return None if row is None else _read(row)


def open_question(connection: Connection, run_id: str, step: str | None) -> Approval:
    """Return the question about a step (None: the plan) that waits for an answer.

    Raises:
        ApprovalError: there is none; the message says what there is instead.
    """
    latest = next(iter(_about(connection, run_id, step)), None)
    if latest is not None and latest.decision is None:
        return latest
    if latest is not None and latest.decision != "withdrawn":
        raise ApprovalError(_taken(latest))
    what = "the plan" if step is None else f"step {step}"
    query = select(approvals.c.step).where(approvals.c.run_id == run_id, approvals.c.decision.is_(None))
    others = sorted({row.step or "the plan" for row in connection.execute(query)})
    hint = f"it is asked about {', '.join(others)}" if others else "nothing in it waits for an approval"
    raise ApprovalError(f"run {run_id} is not asked about {what}; {hint}")


def pending(connection: Connection, *, run_id: str | None = None, now_ns: int) -> list[Approval]:
    """Return the open questions of runs that are not over, oldest first; damaged ones too, expired ones not."""
    query = select(approvals).join(runs, runs.c.id == approvals.c.run_id)
    query = query.where(approvals.c.decision.is_(None), runs.c.status.in_(_ALIVE))
    if run_id is not None:
        query = query.where(approvals.c.run_id == run_id)
    found = (_read(row) for row in connection.execute(query.order_by(approvals.c.requested_ns)))
    return [approval for approval in found if not approval.expired(now_ns)]


def get(connection: Connection, run_id: str) -> list[Approval]:
    """Return every question of a run with its answer, oldest first."""
    query = select(approvals).where(approvals.c.run_id == run_id).order_by(approvals.c.requested_ns)
    return [_read(row) for row in connection.execute(query)]


def _taken(found: Approval) -> str:
    if found.decision == "withdrawn":
        return f"the question about {found.what} of run {found.run_id} was withdrawn: {found.reason}"
    return f"{found.what} of run {found.run_id} was already {found.decision} by {found.decided_by}"


def _about(connection: Connection, run_id: str, step: str | None) -> list[Approval]:
    """Every question about one step, newest first."""
    query = select(approvals).where(*_key(run_id, step)).order_by(approvals.c.requested_ns.desc())
    return [_read(row) for row in connection.execute(query)]


def _key(run_id: str, step: str | None) -> tuple[Any, Any]:
    return approvals.c.run_id == run_id, approvals.c.step == _column(step)


def _column(step: str | None) -> str:
    return _PLAN if step is None else step


def _within(cap: Money | None, bound: Money | None) -> bool:
    """True if spending up to `cap` stays within `bound`; None is no limit."""
    return bound is None or (cap is not None and cap <= bound)


def _read(row: Row[Any]) -> Approval:
    """Read a row that anything may have happened to."""
    problems = []
    try:
        detail = json.loads(row.detail_json)
    except (TypeError, ValueError, RecursionError):
        detail = None
    if not isinstance(detail, dict):
        problems.append("what would be called cannot be read")
    if row.decision not in _DECISIONS:
        problems.append(f"its decision is {str(row.decision)[:40]!r}")
    for name, lowest in (("cap_nano", 0), ("expires_ns", 0), ("decided_ns", 0)):
        value = getattr(row, name)
        if value is not None and (not isinstance(value, int) or value < lowest):
            problems.append(f"{name} is {str(value)[:40]!r}")
    sound = not problems
    return Approval(
        row.run_id, row.step or None, row.requested_ns, str(row.plan_hash),
        row.cap_nano if sound else None, row.expires_ns if sound else None, detail if isinstance(detail, dict) else {},
        row.decision if row.decision in _DECISIONS else None, row.decided_by, row.decided_ns if sound else None,
        row.reason, "; ".join(problems),
    )  # fmt: skip
