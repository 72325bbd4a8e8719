"""Words for simulated requests: a few templates of the simulator's own, plainly artificial.

CATP-Bench has requests that people would write; these only let a text-reading planner run on simulated data.
"""

from collections.abc import Sequence

import numpy as np

from catp.planlang.types import Type
from catp.planners.protocol import Wanted

__all__ = ["request_text"]

_TEMPLATES = (
    "From {given}, get {wanted}.",
    "Please work out {wanted} for {given}.",
    "I have {given} and need {wanted}.",
    "What I want from {given}: {wanted}.",
    "Take {given} and return {wanted}.",
    "Give me {wanted}; the input is {given}.",
    "Use {given} to produce {wanted}.",
    "Here is {given}. Deliver {wanted}.",
)


def request_text(
    inputs: Sequence[tuple[str, Type]], wanted: Sequence[Wanted], rng: np.random.Generator
) -> tuple[str, str]:
    """Return a request in words, and the id of its template."""
    number = int(rng.integers(len(_TEMPLATES)))
    given = _listed([f"`{name}` ({_kind(type_)})" for name, type_ in inputs])
    asked = _listed([_asked(want) for want in wanted])
    return _TEMPLATES[number].format(given=given, wanted=asked), f"sim-{number}"


def _asked(want: Wanted) -> str:
    what = {"image": "a cleaned image", "text": "the text"}.get(want.type.name)
    if what is None:
        inner = want.type.item
        what = f"every {inner}" if inner is not None else f"the {want.type}"
    return what + (f" of `{want.source}`" if want.source else "") + (" if possible" if want.optional else "")


def _kind(type_: Type) -> str:
    return f"some {type_.item}s" if type_.item is not None else f"{'an' if type_.name == 'image' else 'a'} {type_}"


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
