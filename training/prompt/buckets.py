"""Quantities as tokens: which of a few levels a price, a time, an accuracy or a weight falls into.

    <$K>    price over a reference price, half an octave each, from 2**-10 to 2**10
    <msK>   milliseconds, from 0.1 ms, an octave each          <szK>  units of one element, an octave each
    <accK>  accuracy or score, steps of 0.05                   <okK>  share of calls that succeed
    <alphaK> weight of quality, steps of 0.05
    <QK>     -1 to 1 in steps of 0.05: by how much a score differs from what profiles promise (what the policy
             predicts), and the return to be reached

Every kind has a token `<kind?>` for what is not known.
"""

import math
from typing import Literal, TypeAlias

__all__ = ["BUCKETS", "QUALITY_LEVELS", "Kind", "bucket_tokens", "level", "spell"]

Kind: TypeAlias = Literal["$", "ms", "sz", "acc", "ok", "alpha", "Q"]

BUCKETS: dict[Kind, int] = {"$": 41, "ms": 24, "sz": 24, "acc": 21, "ok": 8, "alpha": 21, "Q": 41}
"""How many levels each kind has."""

QUALITY_LEVELS: tuple[float, ...] = tuple(2 * k / (BUCKETS["Q"] - 1) - 1 for k in range(BUCKETS["Q"]))
"""What `<QK>` stands for: a difference of scores."""

_FAILURES = (0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.005)
"""Shares of failing calls between the levels of `ok`, worst first."""


def level(kind: Kind, value: float | None) -> int | None:
    """Return the level of a value, None if it is not known (None or NaN); what is off the scale gets its end.

    `$` takes a ratio of prices, `ms` milliseconds, `sz` units, `ok` the share of calls that fail, `Q` [-1, 1], the
    others [0, 1].
    """
    if value is None or math.isnan(value):
        return None
    last = BUCKETS[kind] - 1
    if kind == "$":
        place = 2 * math.log2(value) + last / 2 if value > 0 else 0.0
    elif kind == "ms":
        place = math.log2(value * 10) if value > 0 else 0.0
    elif kind == "sz":
        place = math.log2(value) if value > 0 else 0.0
    elif kind == "ok":
        place = float(sum(value < failure for failure in _FAILURES))
    elif kind == "Q":
        place = (value + 1) / 2 * last
    else:
        place = value * last
    return round(min(max(place, 0.0), last))


def spell(kind: Kind, place: int | None) -> str:
    """Return the spelling of a level's token."""
    return f"<{kind}{'?' if place is None else place}>"


def bucket_tokens() -> tuple[str, ...]:
    """Return all bucket tokens, kind by kind."""
    return tuple(spell(kind, place) for kind, count in BUCKETS.items() for place in (*range(count), None))
