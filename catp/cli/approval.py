"""How `catp run` and `catp runs resume` ask about plans and steps with `@approve`.

    --approve ask     at the terminal; without one, wait until `catp runs approve` says what to do
    --approve later   do everything else, then end with exit code 7; `catp runs resume` goes on
    --approve auto    everything may run
    --approve never   nothing may

A question waits in a thread of its own that nobody waits for: after Ctrl-C the command must be able to end although the
terminal still owes an answer.
"""

import asyncio
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from catp.cli.again import again, to_resume
from catp.cli.output import console_err, dollars, printable
from catp.planlang.money import Money, parse_usd

if TYPE_CHECKING:
    from catp.approvals import ApprovalPolicy
    from catp.runtime.approval import ApprovalRequest
    from catp.store.approvals import Approval

__all__ = ["MODES", "approval_policy", "command", "described", "moment", "say_how_to_resume"]

MODES: Final = ("auto", "ask", "later", "never")


def approval_policy(mode: str, quiet: Callable[[], AbstractContextManager[None]], *, stored: bool) -> "ApprovalPolicy":
    """Return who decides in one of `MODES`; `quiet` gives a context in which nothing else draws on the terminal.

    Raises:
        ValueError: `later` without a store.
    """
    from catp.approvals import ApprovalPolicy, policy_of

    if mode == "ask" and sys.stdin.isatty():
        decides: Any = _Terminal(quiet)
    elif mode == "ask":
        decides = "wait" if stored else _deny
    else:
        decides = mode
    policy = policy_of(ApprovalPolicy(decides, _tell), stored=stored)
    assert policy is not None
    return policy


def described(step: str | None, detail: Mapping[str, Any], cap: Money | None) -> str:
    """Return what a question is about in one line: the call with its arguments in short, its price, its cap."""
    tools = [str(tool) for tool in detail.get("tools", ())]
    arguments = ", ".join(f"{name}={value}" for name, value in detail.get("arguments", {}).items())
    if step is None:
        what = f"the plan: {', '.join(tools)} with {arguments}" if arguments else f"the plan: {', '.join(tools)}"
    elif detail.get("width") is not None:
        what = f"step {step}: {detail['width']} calls of {' | '.join(tools)}"
    else:
        what = f"step {step}: {' | '.join(tools)}({arguments})"
    expected, p95 = (_amount(detail.get(name)) for name in ("expected", "p95"))
    parts = [what, "unpriced" if expected is None else f"about {dollars(expected)}"]
    parts += [f"p95 {dollars(p95)}"] if p95 is not None and p95 != expected else []
    parts.append("no cap" if cap is None else f"at most {dollars(cap)}")
    return printable(", ".join(parts))


def command(approval: "Approval") -> str:
    """Return the command that says yes to a question."""
    step = "" if approval.step is None else f" --step {approval.step}"
    return f"catp runs approve {approval.run_id}{step}{again('store')}"


def moment(ns: int) -> str:
    """Return a time as people here read it."""
    return datetime.fromtimestamp(ns / 1e9).astimezone().strftime("%Y-%m-%d %H:%M")


def say_how_to_resume(run_id: str) -> None:
    """Say on stderr how a run that ended as `waiting` goes on."""
    console_err().print(f"the run waits; once it is decided, go on with: {to_resume(run_id)}", markup=False)


def _tell(approval: "Approval") -> None:
    """Say what waits for somebody elsewhere, and what somebody elsewhere has decided."""
    what = "plan" if approval.step is None else f"step {approval.step}"
    if approval.decision is not None:
        text = f"\n{what}: {approval.decision} by {approval.decided_by}"
    else:
        until = "" if approval.expires_ns is None else f", until {moment(approval.expires_ns)}"
        about = described(approval.step, approval.detail, approval.cap)
        yes = command(approval)
        text = f"waits for approval{until}: {about}\n  {yes}\n  {yes} --deny"
    console_err().print(printable(text), markup=False)


async def _deny(request: "ApprovalRequest") -> bool:
    what = "the plan" if request.step is None else f"step {request.step}"
    console_err().print(
        f"{what} needs approval, but there is no terminal to ask on, and a run that is not saved cannot be approved "
        "from elsewhere: denied (see --approve)",
        markup=False,
    )
    return False


class _Terminal:
    """Asks the person at the terminal, one question after the other."""

    def __init__(self, quiet: Callable[[], AbstractContextManager[None]]) -> None:
        self._quiet = quiet
        self._turn = asyncio.Lock()
        self._lines = _Lines()

    async def __call__(self, request: "ApprovalRequest") -> bool:
        from catp.approvals import detail_of

        async with self._turn:
            with self._quiet():
                about = described(request.step, detail_of(request), request.cap)
                sys.stderr.write(f"approve {about}? [y/N] ")
                sys.stderr.flush()
                line = await self._lines.next()
                return line.strip().lower() in ("y", "yes")


class _Lines:
    """Lines typed at the terminal; each goes to whoever asked last. Reading one cannot be called off."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._take: Callable[[str], None] | None = None
        self._reading = False

    async def next(self) -> str:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str] = loop.create_future()

        def settle(line: str) -> None:
            if not answer.done():
                answer.set_result(line)

        def take(line: str) -> None:
            try:
                loop.call_soon_threadsafe(settle, line)
            except RuntimeError:  # the run was interrupted, and its event loop is closed
                pass

        with self._lock:
            self._take = take
            if not self._reading:
                self._reading = True
                threading.Thread(target=self._read, name="catp-approval", daemon=True).start()
        return await answer

    def _read(self) -> None:
        line = sys.stdin.readline()
        with self._lock:
            take, self._take, self._reading = self._take, None, False
        if take is not None:
            take(line)


def _amount(text: object) -> Money | None:
    return None if text is None else parse_usd(str(text))
