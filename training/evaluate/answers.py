"""A planner's answer: what it said once, which measured option that is, and what went wrong if nothing came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from catp.planlang.digest import digest
from catp.planlang.errors import PlanError
from catp.planlang.money import Money
from catp.planlang.nodes import Plan
from catp.planners.protocol import Candidate, NothingFits, PlanRequest
from catp.training.data.canonical import canonical_plan
from catp.training.evaluate.candidates import CandidateSet

__all__ = ["Answer", "by_key", "failure_of", "place_of", "plan_key"]


@dataclass(frozen=True)
class Answer:
    """What a planner said once. Without `key`, `failure` says what went wrong."""

    ms: float
    key: str | None = None
    plan: Plan | None = None
    candidates: Mapping[str, Candidate] = field(default_factory=dict)
    price: Money | None = Money(0)
    failure: str | None = None


def plan_key(plan: Plan, request: PlanRequest) -> str:
    """Return the digest of the plan's canonical form, as `Option.plan` holds it.

    Raises:
        PlanError: the plan is not valid for the request's tools.
        ValueError: it leaves out an output that is wanted.
    """
    missing = {want.name for want in request.wanted if not want.optional} - {output.name for output in plan.outputs}
    if missing:
        raise _OutputMissing(f"the plan has no output {', '.join(sorted(missing))}")
    return digest(canonical_plan(plan, request.registry))


class _OutputMissing(ValueError):
    pass


def place_of(one: CandidateSet, answer: Answer) -> int | None:
    """The option that an answer's plan is, None if it was not measured."""
    if answer.key is None:
        return None
    return next((place for place, option in enumerate(one.options) if option.plan == answer.key), None)


def by_key(candidates: Sequence[Candidate], request: PlanRequest) -> dict[str, Candidate]:
    """All valid candidates by key; the first of equals, and nothing of those that cannot run."""
    found: dict[str, Candidate] = {}
    for candidate in candidates:
        try:
            found.setdefault(plan_key(candidate.plan, request), candidate)
        except ValueError:
            continue
    return found


def failure_of(error: Exception) -> str:
    """What to count a failure as: its class, with the limit that nothing fits."""
    if isinstance(error, NothingFits):
        return f"NothingFits ({error.limit})"
    if isinstance(error, _OutputMissing):
        return "output missing"
    return "invalid plan" if isinstance(error, PlanError) else type(error).__name__
