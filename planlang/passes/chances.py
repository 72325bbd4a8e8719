"""How likely each step of a plan is to start.

A step starts if its guard holds and everything it cannot do without has a value. These events (one per guard, one per
step that may fail) are taken as independent, and a set of events is one integer, so shared causes count once:

    a                events {a}            probability that a succeeds
    b = f(a) when    events {a, guard b}   b starts with P(a) * P(guard b)
    c = g(a, b)      events {a, guard b, b}

A guarded step with `else` always has a value if that and its arguments have one; that the guard may make the arguments
or the `else` value unnecessary is ignored, and so is that a later alternative may do without a value that an earlier
one needs; both make the figure slightly too small.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from catp.planlang.nodes import Ref, Step

__all__ = ["Chances"]


@dataclass(frozen=True, slots=True)
class _Value:
    """What must happen for a step's value to exist, and whether a guard is among it."""

    needs: int
    guarded: bool


_ALWAYS = _Value(0, False)


class _Events:
    """Sets of independent events as integers, with the probability that all events of a set happen."""

    def __init__(self) -> None:
        self.shares: list[float] = []
        self.known: dict[int, float] = {0: 1.0}

    def and_new(self, events: int, share: float) -> int:
        """Return `events` (a set already known) with one new event of probability `share`."""
        if share >= 1.0:
            return events
        both = events | 1 << len(self.shares)
        self.shares.append(share)
        self.known[both] = self.known[events] * share
        return both

    def union(self, sets: Sequence[int]) -> int:
        """Return the union of known sets, which is then known too: the largest one and what the others add."""
        if len(sets) == 1:
            return sets[0]
        union = largest = 0
        for one in sets:
            union |= one
            if one > largest:
                largest = one
        if union not in self.known:
            found, rest = self.known[largest], union & ~largest
            while rest:
                bit = rest & -rest
                found *= self.shares[bit.bit_length() - 1]
                rest ^= bit
            self.known[union] = found
        return union


class Chances:
    """The events of a plan, filled in step by step in order."""

    def __init__(self, guard_holds: float) -> None:
        """`guard_holds` is the probability that a `when` condition is met."""
        self.guard_holds = guard_holds
        self.values: dict[str, _Value] = {}
        self.events = _Events()

    def starts(self, step: Step, refs: Sequence[tuple[str, Ref]], success: float) -> tuple[float, bool]:
        """Return the probability that the step starts, and whether a guard may keep it from starting.

        `refs` is what `step_refs` yields for it, `success` the probability that it has a value once it has started.
        """
        before = [self.values[ref.root] for slot, ref in refs if slot != "else" and self._binding(slot, ref)]
        guarded = any(value.guarded for value in before)
        needs = [value.needs for value in before]
        asked = self.events.union(needs)
        holds = self.guard_holds if step.when else 1.0
        runs = self.events.and_new(asked, holds)
        if step.otherwise is not None:
            other = self.values.get(step.otherwise.root, _ALWAYS)
            either = self.events.union([asked, other.needs])
            exists = self.events.and_new(either, 1.0 - holds * (1.0 - success))
            self.values[step.name] = _Value(exists, guarded or other.guarded)
        else:
            self.values[step.name] = _Value(self.events.and_new(runs, success), guarded or bool(step.when))
        return self.events.known[runs], guarded or bool(step.when)

    def _binding(self, slot: str, ref: Ref) -> bool:
        """True if the step cannot run without the value of this reference."""
        return not ref.optional and slot != "@after" and ref.root in self.values
