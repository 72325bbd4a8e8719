"""How long the result of a call may be used again instead of calling once more.

A `pure` tool gives the same result for the same arguments for ever; what a `read` tool found is out of date after a
while; a `write` tool is called for what it does, so its results are never used again.
"""

import hashlib
import math
from typing import TypeAlias

from catp.planlang.registry_view import Effect
from catp.planlang.scalars import TextError, read_duration

__all__ = ["Lifetime", "check_lifetime", "definition_of", "lifetime", "lifetime_in"]

Lifetime: TypeAlias = bool | str | float
"""`"10m"` or seconds, True for ever, False never."""


def lifetime(cache: Lifetime) -> float | None:
    """Return what a `cache=` argument says in seconds: infinity for ever, None for never.

    Raises:
        ValueError: It is no time, or not above zero.
    """
    if isinstance(cache, bool):
        return math.inf if cache else None
    if isinstance(cache, str):
        try:
            seconds = read_duration(cache).seconds
        except TextError:
            seconds = math.nan
    else:
        seconds = float(cache)
    if not seconds > 0:
        raise ValueError(f"cache must be a time above zero such as '10m', seconds, True or False, not {cache!r}")
    return seconds


def check_lifetime(effects: Effect, seconds: float | None) -> None:
    """Raise `ValueError` if results of a tool with these effects must not live that long."""
    if seconds is None:
        return
    if effects == "write":
        raise ValueError("it writes, so its results are never used again; leave cache out")
    if not seconds > 0:
        raise ValueError(f"results must live for more than zero seconds, not {seconds!r}")
    if effects == "read" and seconds == math.inf:
        raise ValueError("what it reads may change; say for how long results may be used, such as cache='10m'")


def lifetime_in(effects: Effect, own: float | None, asked: float | None) -> float | None:
    """Return for how long the result of a call may be used, None for not at all.

    `own` is what the tool allows; `asked` what the step says: 0 for `@cache(off)`, infinity for `@cache`, None for
    nothing. A step may shorten what the tool allows. It may also ask for a tool that says nothing: for any time if the
    tool is pure, for a limited time if it reads.
    """
    if effects == "write" or asked == 0 or (asked is None and own is None):
        return None
    seconds = min(math.inf if own is None else own, math.inf if asked is None else asked)
    return None if effects == "read" and seconds == math.inf else seconds


def definition_of(*parts: object) -> str:
    """Return a digest of what makes a tool what it is (its source, its prompt), for the keys of kept results."""
    return hashlib.sha256("\0".join(map(repr, parts)).encode("utf-8", "surrogatepass")).hexdigest()[:16]
