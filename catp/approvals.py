"""Who decides about plans and steps with `@approve`, and how an answer finds the run that waits for it.

    Agent(approve=ask)        a callable, asked in this process
    Agent(approve="auto")     everything may run
    Agent(approve="never")    nothing may
    Agent(approve="wait")     wait until somebody decides, here or in another process
    Agent(approve="later")    do everything else, then end as `waiting`; resume the run once somebody has decided

With a store, every question and every answer is kept in it. An answer that still holds (same plan, no larger cap, not
expired) is not asked for again, so a run that is resumed goes on by itself; and while somebody is being asked here, a
decision made elsewhere (`catp.decisions`) counts as soon as it is there.
"""

import asyncio
import getpass
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

from catp.planlang.money import Money, format_usd
from catp.runtime.approval import ApprovalRequest, Approver
from catp.runtime.hooks import JournalUnavailable

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from catp.store.approvals import Approval
    from catp.store.database import Database
    from catp.store.journal import RunJournal
    from catp.store.redaction import Redaction
    from catp.store.store import RunStore

__all__ = [
    "ApprovalMode",
    "ApprovalPolicy",
    "Desk",
    "approver_for",
    "detail_of",
    "policy_of",
    "user",
]

ApprovalMode: TypeAlias = Literal["auto", "never", "wait", "later"]

_POLL_S: Final = 0.5
_VALID_S: Final = 7 * 24 * 3600
_VALUE_CHARACTERS: Final = 60


def user() -> str:
    """Return the name that decisions of this process are kept under."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user without an entry in the password file
        return "unknown"


@dataclass(frozen=True, slots=True)
class ApprovalPolicy:
    """Who decides, and under which name.

    `tell` hears of questions that nobody in this process is asked, and of answers that came from elsewhere; it must
    not raise.
    """

    decides: Approver | ApprovalMode
    tell: "Callable[[Approval], None] | None" = None
    by: str = field(default_factory=user)


def policy_of(approve: "Approver | ApprovalMode | ApprovalPolicy | None", *, stored: bool) -> ApprovalPolicy | None:
    """Return what `approve` means; raise `ValueError` for an unknown mode, or one that needs a store without one."""
    policy = approve if approve is None or isinstance(approve, ApprovalPolicy) else ApprovalPolicy(approve)
    if policy is None or callable(policy.decides):
        return policy
    modes = get_args(ApprovalMode)
    if policy.decides not in modes:
        raise ValueError(f"approve={policy.decides!r}: give a callable, or one of {', '.join(modes)}")
    if policy.decides in ("wait", "later") and not stored:
        raise ValueError(f"approve={policy.decides!r} needs a store in which the decision can be found; give `store=`")
    return policy


def approver_for(
    policy: ApprovalPolicy | None,
    store: "RunStore | None",
    journal: "RunJournal | None",
    lower: Callable[[Money], None] | None = None,
) -> Approver | None:
    """Return who answers the questions of a run; without a journal (there is no store, or it failed) none are kept.

    Where nobody was given to ask, an answer from an earlier life of the run still counts. `lower` lowers the cap of the
    run to what a yes is good for.
    """
    database = store.database if store is not None and journal is not None else None
    if policy is None:
        return None if database is None else partial(_answered_before, database)
    redaction = None if store is None else store.redaction
    return Desk(policy, database, journal.durable if journal is not None else None, lower, redaction).decide


class Desk:
    """Takes the questions of one run to whoever decides.

    Args:
        policy: Who that is.
        database: Where questions and answers are kept; None keeps none.
        recorded: Waits until the run itself is in the database, since its questions refer to it.
        lower: Told what the run may spend, if a yes is to less than was asked for.
        redaction: Takes out of the questions what must not be stored; whoever is asked here sees it.
    """

    def __init__(
        self,
        policy: ApprovalPolicy,
        database: "Database | None" = None,
        recorded: Callable[[], Awaitable[None]] | None = None,
        lower: Callable[[Money], None] | None = None,
        redaction: "Redaction | None" = None,
    ) -> None:
        self._lower = lower
        self._redaction = redaction
        self._policy = policy
        self._database = database
        self._recorded = recorded
        self._here = policy.decides not in ("wait", "later")

    async def decide(self, request: ApprovalRequest) -> bool | None:
        """Return what was decided; None if the run must not wait for it any longer."""
        from catp.store.errors import StoreError

        if self._database is None:
            if not self._here:
                raise LookupError("the run is not in a store, so nobody could decide about it elsewhere")
            return await self._ask_here(request)
        try:
            question = await self._question(self._database, request)
        except (StoreError, JournalUnavailable):
            if not self._here:
                raise
            return await self._ask_here(request)  # a store that fails costs the record, not the run
        if question.decision is not None:
            return question.granted
        if not self._here:
            self._tell(question)
        if self._policy.decides == "later":
            return None
        return await self._first_answer(self._database, request, question)

    async def _first_answer(self, database: "Database", request: ApprovalRequest, question: "Approval") -> bool | None:
        elsewhere = asyncio.ensure_future(self._elsewhere(database, request, question))
        here = asyncio.ensure_future(self._ask_here(request)) if self._here else None
        asked = [elsewhere] if here is None else [here, elsewhere]
        try:
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            if here is not None and not here.done() and elsewhere.exception() is not None:
                await asyncio.wait((here,))  # the store failed; who is asked here can still decide
            if here is not None and here.done():
                granted = here.result()
                return None if granted is None else await self._keep(database, request, granted)
            found = elsewhere.result()
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        self._tell(found)
        if found.granted and found.cap is not None and found.cap != request.cap:
            if self._lower is None:
                raise LookupError(f"it was approved for ${format_usd(found.cap)}, and the run's cap cannot be lowered")
            self._lower(found.cap)
        return found.granted

    async def _ask_here(self, request: ApprovalRequest) -> bool | None:
        decides = self._policy.decides
        return await decides(request) if callable(decides) else decides == "auto"

    async def _question(self, database: "Database", request: ApprovalRequest) -> "Approval":
        """The answer that still holds, or the question put down as open."""
        if self._recorded is not None:
            await self._recorded()
        kept = self._kept(request)
        return await database.awrite(lambda connection: _known_or_asked(connection, kept), durable=True)

    def _kept(self, request: ApprovalRequest) -> ApprovalRequest:
        if self._redaction is None:
            return request
        return replace(request, arguments=self._redaction.arguments(request.arguments))

    async def _elsewhere(self, database: "Database", request: ApprovalRequest, question: "Approval") -> "Approval":
        """Wait for an answer in the database; a question that has become void is asked again."""
        from catp.store.approvals import look
        from catp.store.errors import StoreUnavailable

        while question.decision is None:
            await asyncio.sleep(_POLL_S)
            try:
                found = await database.aread(partial(look, approval=question))
                if found is None or found.problem or found.decision == "withdrawn" or found.expired(time.time_ns()):
                    found = await self._question(database, request)
            except StoreUnavailable:
                continue
            question = found
        return question

    async def _keep(self, database: "Database", request: ApprovalRequest, granted: bool) -> bool:
        """Keep the answer given here; if somebody was faster, theirs counts."""
        from catp.store.approvals import decide
        from catp.store.errors import StoreError

        by, asked = self._policy.by, self._kept(request)

        def write(connection: "Connection") -> "Approval":
            known = _known_or_asked(connection, asked)
            if known.decision is None:
                return decide(connection, known, granted=granted, by=by, now_ns=time.time_ns())
            if known.granted != granted:
                faster.append(known)
            return known

        faster: list[Approval] = []
        try:
            kept = await database.awrite(write, durable=True)
        except StoreError:
            return granted
        for known in faster:
            self._tell(known)
        return kept.granted

    def _tell(self, approval: "Approval") -> None:
        if self._policy.tell is not None:
            self._policy.tell(approval)


async def _answered_before(database: "Database", request: ApprovalRequest) -> bool:
    known = await database.aread(partial(_known, request=request))
    if known is None:
        raise LookupError("nobody was given to ask, and no earlier answer holds")
    return known.granted


def _known(connection: "Connection", request: ApprovalRequest) -> "Approval | None":
    from catp.store.approvals import standing

    return standing(
        connection, request.run_id, request.step, digest=request.digest, cap=request.cap, now_ns=time.time_ns()
    )


def _known_or_asked(connection: "Connection", request: ApprovalRequest) -> "Approval":
    from catp.store import approvals

    now_ns = time.time_ns()
    return _known(connection, request) or approvals.request(
        connection, request.run_id, request.step, digest=request.digest, cap=request.cap, detail=detail_of(request),
        expires_ns=now_ns + _VALID_S * 10**9, now_ns=now_ns,
    )  # fmt: skip


def _short(value: object) -> str:
    """Return a value in at most 61 characters; images are not shown."""
    if hasattr(value, "size") and hasattr(value, "mode"):
        return "image"
    text = repr(value[: _VALUE_CHARACTERS * 2]) if isinstance(value, str | bytes) else repr(value)
    return text if len(text) <= _VALUE_CHARACTERS else f"{text[:_VALUE_CHARACTERS]}…"


def detail_of(request: ApprovalRequest) -> dict[str, Any]:
    """Return what is kept of a question: texts and decimal strings only, null for an unknown price."""
    return {
        "tools": list(request.tools),
        "arguments": {name: _short(value) for name, value in request.arguments.items()},
        "width": request.width,
        "expected": None if request.estimate is None else format_usd(request.estimate),
        "p95": None if request.p95 is None else format_usd(request.p95),
    }
