"""What is known of a run that is taken up again: which steps have ended, with which values, after how many calls.

A resumed run starts from the ends of its steps, not from a replay of its transitions, so it does not matter which
version of the reducer wrote the journal, and a forked or repaired run can start from some steps of another run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from catp.runtime.events import StepStatus
from catp.runtime.ledger import LedgerRow

__all__ = ["Restored", "RestoredStep", "RestoredUnit"]


@dataclass(frozen=True, slots=True)
class RestoredUnit:
    """A step, or one element of a mapped step, as far as it got.

    `status` is None while it is open; `attempt` is then the alternative in hand, `tries` how often each alternative
    was called, `number` how many calls were made in all, and `problems` why the earlier ones gave no value.
    """

    status: StepStatus | None = None
    has_value: bool = False
    value: Any = None
    attempt: int = 0
    tries: Mapping[int, int] = field(default_factory=dict)
    number: int = 0
    reason: str = ""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RestoredStep:
    """A step of an earlier life of the run. `status` is None if it had not ended; `units` by element, None as key for
    a step that is not mapped. `approved` is True if somebody had approved it already."""

    status: StepStatus | None
    reason: str = ""
    has_value: bool = False
    value: Any = None
    tool: str | None = None
    calls: int = 0
    approved: bool = False
    units: Mapping[int | None, RestoredUnit] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Restored:
    """An earlier life of a run: `seq` is the number of its last event, `elapsed_ns` how long it ran, `calls` how many
    calls it made, `rows` what they cost."""

    steps: Mapping[str, RestoredStep]
    seq: int = 0
    elapsed_ns: int = 0
    calls: int = 0
    rows: tuple[LedgerRow, ...] = ()
