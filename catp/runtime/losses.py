"""What calls cost that were started before their plan was finished and are not in it; `catp.runtime.early` makes them.

They are rows of kind `eager` of the pseudo-step that planning is booked under: not the plan that runs has cost this
money, but one that was foreseen wrongly.
"""

from dataclasses import dataclass

from catp.planlang.money import Money

__all__ = ["EAGER", "Loss"]

EAGER = "eager"
"""The kind of ledger row."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A call that no step adopted: its tool, the step it was started for, how long it ran (wall-clock milliseconds),
    what it cost (None: unknown) and why nobody wanted it. `estimated`: the tool did not say what it used."""

    tool: str
    step: str
    ms: float
    amount: Money | None
    note: str
    estimated: bool = False
