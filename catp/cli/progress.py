"""Live progress of a run on stderr: a table that updates in place on a terminal, one line per step elsewhere."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from catp.cli.output import console_err, dollars, milliseconds, printable
from catp.planlang.money import Money, format_usd, parse_usd
from catp.planlang.render.labels import clip
from catp.runtime.events import RunEvent
from catp.runtime.planning import PLANNING_STEP
from catp.spending import warning_text

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["STATES", "Progress"]

STATES = {
    "node.ready": ("◔", "ready"),
    "node.started": ("◐", "running"),
    "node.retrying": ("↻", "retrying"),
    "node.hedged": ("◐", "hedged"),
    "node.fallback": ("↷", "next alternative"),
    "node.awaiting_approval": ("✋", "awaiting approval"),
    "node.finished": ("✓", "ok"),
    "node.failed": ("✕", "failed"),
    "node.skipped": ("⤼", "skipped"),
    "node.refused": ("$", "refused"),
    "node.poisoned": ("✕", "input missing"),
    "node.cancelled": ("■", "cancelled"),
}
_REASON_COLUMNS = 300
_ENDED = ("node.finished", "node.failed", "node.skipped", "node.refused", "node.poisoned", "node.cancelled")


class Progress:
    """Feed it events; it draws. Use as a context manager so that the terminal is left in order."""

    def __init__(self, steps: Iterable[str], budget: Money | None) -> None:
        self._console = console_err()
        self._rows: dict[str, list[str]] = {step: ["○", "pending", "", "", ""] for step in steps}
        self._started: dict[str, int] = {}
        self._spent: dict[str, int] = {}
        self._budget = budget
        self._live = None
        if self._console.is_terminal and not self._console.quiet:
            from rich.live import Live

            self._live = Live(console=self._console, get_renderable=self._table, refresh_per_second=10, transient=True)

    def __enter__(self) -> "Progress":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Draw nothing while somebody answers a question."""
        if self._live is not None:
            self._live.stop()
        try:
            yield
        finally:
            if self._live is not None:
                self._live.start()

    def on_event(self, event: RunEvent) -> None:
        """Take one event; cheap enough to be called from the event loop."""
        if event.type == "run.replanned":
            self._console.print(printable(str(event.data.get("reason", "planned anew"))), markup=False)
        if event.type == "run.budget_warning":
            self._console.print(f"warning: {printable(warning_text(event))}", markup=False)
        if event.type == "run.created" and "planning" in event.data:
            self._planned(event.data["planning"])
        for call in event.data.get("eager", {}).get("calls", ()) if event.step is None else ():
            self._lost(call)
        if event.step is None or event.type.startswith("run."):
            return
        row = self._rows.setdefault(event.step, ["○", "pending", "", "", ""])  # a repair may bring new steps
        if event.type == "node.settled":
            amount = event.data.get("amount")
            if amount is not None:
                self._spent[event.step] = self._spent.get(event.step, 0) + parse_usd(str(amount))
            spent = self._spent.get(event.step)
            row[4] = dollars(None if spent is None else Money(spent))
        part = event.element is not None or event.attempt is not None  # an element, or a call: the step may go on
        if event.type not in STATES or (part and event.type in _ENDED):
            return
        row[0], row[1] = STATES[event.type]
        if event.data.get("tool"):
            row[2] = str(event.data["tool"])
        if event.type == "node.started":
            self._started.setdefault(event.step, event.at_ns)
        if event.type in _ENDED:
            self._ended(event, row)

    def _planned(self, planning: Mapping[str, Any]) -> None:
        """The run begins with what making its plan cost."""
        amounts = [parse_usd(row["amount"]) for row in planning["rows"] if "amount" in row]
        if amounts:
            self._spent[PLANNING_STEP] = sum(amounts)
        cost = dollars(Money(sum(amounts)) if amounts else None)
        mark, state = STATES["node.finished"]
        row = [mark, state, str(planning["planner"]), milliseconds(planning["ms"]), cost]
        self._rows = {PLANNING_STEP: row, **self._rows}

    def _lost(self, call: Mapping[str, Any]) -> None:
        """A call was started while the plan was made, and no step took it."""
        amount = sum(parse_usd(row["amount"]) for row in call["rows"] if "amount" in row)
        self._spent[PLANNING_STEP] = self._spent.get(PLANNING_STEP, 0) + amount
        told = f"{call['tool']} was started early and is not used: {dollars(Money(amount))}"
        self._console.print(printable(told), markup=False)

    def _ended(self, event: RunEvent, row: list[str]) -> None:
        started = self._started.get(str(event.step))
        row[3] = milliseconds((event.at_ns - started) / 1e6) if started is not None else ""
        if self._live is None:
            reason = clip(str(event.data.get("reason") or event.data.get("error") or ""), _REASON_COLUMNS)
            cells = [row[0], str(event.step), row[1], row[2], row[3], row[4], reason]
            self._console.print("  ".join(cell for cell in cells if cell), markup=False)

    def _table(self) -> "Table":
        from rich.table import Table

        table = Table(box=None, show_header=False, pad_edge=False)
        for step, (mark, state, tool, took, amount) in self._rows.items():
            table.add_row(mark, step, state, tool, took, amount)
        total = f"${format_usd(Money(sum(self._spent.values())))}"
        table.add_row("", "spent", "", "", "", f"{total} of ${format_usd(self._budget)}" if self._budget else total)
        return table
