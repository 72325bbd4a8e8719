"""What a call makes of its arguments: the quality model of the simulator, for one hidden state or for all at once.

A `State` has units, severity by (kind of damage, *hidden state) and quality by (*hidden state). With no hidden axis it
is the true state of one value; with axes it is the value in every state its inputs may be in, so expectations are
weighted sums. Arrays broadcast: a value from the first of two inputs has shape (H1, 1), from the second (1, H2).

    restore   severity and quality as `SimTool.restored` says
    render    severity stays, quality x accuracy
    read, label, join   quality of all arguments x accuracy x legible(severity of the first)
    reduce    mean quality of the elements x accuracy

`worth` is the score of a value that was asked for: quality x product of (1 - 0.5 x severity).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from catp.training.evaluate.candidates import Floats
from catp.training.sim.tools import FILE, SimTool

__all__ = ["State", "apply", "worth"]

CHARS_PER_PIXEL = 1 / 125
"""Text that is read from an image: 2,000 characters from 250,000 pixels."""
_PIXELS_PER_BYTE = 2.5
_RECORD_UNITS = 50.0
_SEEN = 0.5
"""How much of a restored image or text one kind of damage that is left takes away."""


@dataclass(frozen=True, slots=True)
class State:
    """One value, or each element of a list of alike values."""

    units: float
    severity: Floats
    quality: Floats


def apply(tool: SimTool, args: Sequence[State], units: float) -> State:
    """Return the result of a call that does not fail; `units` is the size of all its input."""
    role, first = tool.capability.role, args[0]
    if role == "restore":
        severity, quality = tool.restored(first.severity, first.quality)
        return State(first.units, severity, quality)
    if role == "reduce":
        quality = sum((arg.quality for arg in args), np.zeros(())) / len(args)
        return State(_RECORD_UNITS, _undamaged(tool, quality), quality * tool.accuracy(units))
    quality = first.quality * tool.accuracy(units)
    if role == "render":
        return State(max(1.0, round(units * _PIXELS_PER_BYTE)), first.severity, quality)
    for other in args[1:]:
        quality = quality * other.quality
    if len(first.severity):
        quality = quality * tool.legible(first.severity)
    if role != "read":
        return State(_RECORD_UNITS, _undamaged(tool, quality), quality)
    pixels = units * _PIXELS_PER_BYTE if tool.capability.params[0][1] == FILE else units
    return State(max(1.0, round(pixels * CHARS_PER_PIXEL)), _undamaged(tool, quality), quality)


def worth(state: State) -> Floats:
    """Return the score of a wanted value."""
    return state.quality * np.prod(1.0 - _SEEN * state.severity, axis=0) if len(state.severity) else state.quality


def _undamaged(tool: SimTool, like: Floats) -> Floats:
    return np.zeros((tool.capability.kinds, *np.shape(like)))
