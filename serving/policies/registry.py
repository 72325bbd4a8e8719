"""Queue policies by name: `policy("moore-hodgson")`, `policy("spf", late="demote")`, `policy("edf+demote")`."""

from collections.abc import Callable
from difflib import get_close_matches
from time import thread_time
from typing import Any

from catp.serving.policies.annealing import Annealing
from catp.serving.policies.base import QueuePolicy
from catp.serving.policies.bins import Bins
from catp.serving.policies.deadlines import Edf, Slack
from catp.serving.policies.fairness import Fair
from catp.serving.policies.fcfs import Fcfs, Priority
from catp.serving.policies.feasible import Feasible, Late
from catp.serving.policies.guard import Guarded
from catp.serving.policies.moore_hodgson import MooreHodgson
from catp.serving.policies.shortest import LowerBound, ShortestFirst, Uncertainty

__all__ = ["DEFAULT", "guarded", "names", "policy"]

DEFAULT = "moore-hodgson"

_POLICIES: dict[str, Callable[..., QueuePolicy]] = {
    kind.name: kind
    for kind in (Annealing, Bins, Edf, Fcfs, LowerBound, MooreHodgson, Priority, ShortestFirst, Slack, Uncertainty)
}
_LATE: tuple[Late, ...] = ("demote", "shed", "age")


def names() -> list[str]:
    """Return the names of all policies, without suffixes."""
    return sorted(_POLICIES)


def policy(name: str = DEFAULT, *, late: Late | None = None, fair: bool = False, **options: Any) -> QueuePolicy:
    """Return a new policy.

    Args:
        name: one of `names()`; suffixes say the same as the arguments: "spf+demote", "moore-hodgson+fair".
        late: what becomes of requests that cannot meet their SLO any more (`Feasible`); None: nothing special.
        fair: share between tenants first, and let the policy order each tenant's own requests (`Fair`).
        options: the policy's own.

    Raises:
        KeyError: there is no such policy or suffix; the nearest name is suggested.
        TypeError: the policy has no such option.
    """
    base, *suffixes = name.split("+")
    for suffix in suffixes:
        if suffix == "fair":
            fair = True
        elif suffix in _LATE:
            late = suffix
        else:
            raise _unknown("suffix", suffix, [*_LATE, "fair"])
    if base not in _POLICIES:
        raise _unknown("queue policy", base, names())
    if late is not None and late not in _LATE:
        raise _unknown("treatment of late requests", late, list(_LATE))
    made = _POLICIES[base](**options)
    if late is not None:
        made = Feasible(made, late)
    return Fair(made) if fair else made


def guarded(inner: QueuePolicy, *, clock: Callable[[], float] = thread_time) -> Guarded:
    """Return a policy with its time limit enforced, and behind it the fallback that it declares."""
    return Guarded(inner, policy(inner.fallback or "fcfs"), clock=clock)


def _unknown(what: str, name: str, known: list[str]) -> KeyError:
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return KeyError(f"no {what} {name!r}: {hint}known are {', '.join(known)}")
