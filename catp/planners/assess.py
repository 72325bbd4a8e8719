"""From a writer's draft and the cheapest plans to distinct options, each valid, wanted, priced and rated."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from catp.planlang.canonical import canonical_plan
from catp.planlang.digest import digest
from catp.planlang.nodes import Plan
from catp.planlang.passes.dead import drop_dead
from catp.planners.build import renamed
from catp.planners.cheapest import Cheap
from catp.planners.decide import Option
from catp.planners.pricing import Priced, priced
from catp.planners.protocol import PlanRequest
from catp.planners.serves import serves
from catp.planners.writer import Draft, Rating

__all__ = ["UNRATED_SD", "Assessed", "Unusable", "assess"]

UNRATED_SD = 0.29
"""Standard deviation of a quality that the policy did not rate: that of a number drawn evenly from [0, 1]."""


class Unusable(Exception):
    """A writer's answer cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Assessed:
    """What a draft comes to.

    `written` of its plans can be used and `dropped` cannot; `unrated` of the options have no rating of the policy, and
    `sd` is the mean standard deviation of those that have one.
    """

    options: tuple[Option, ...]
    written: int
    dropped: int
    unrated: int
    sd: float


def assess(draft: Draft, cheap: Sequence[Cheap], request: PlanRequest) -> Assessed:
    """Check, price and merge the writer's plans and the cheapest ones.

    Raises:
        Unusable: a rating is no estimate of a number in [0, 1].
    """
    options: dict[str, Option] = {}
    rated = (*draft.rated, *(None for _ in cheap[len(draft.rated) :]))
    for one, rating in zip(cheap, rated, strict=False):
        key = digest(canonical_plan(one.priced.plan, request.registry))
        if rating is None:
            guess = Rating(one.quality, UNRATED_SD)
            options.setdefault(key, Option(key, one.priced, guess, one.known, rated=False))
        else:
            options.setdefault(key, Option(key, one.priced, _sound(rating)))
    survived = 0
    for written in draft.written:
        plan, _ = drop_dead(written.plan, request.registry)  # a step nobody needs would only cost
        rating, fitting = _sound(written.rating), _fitting(plan, request)
        if fitting is None:
            continue
        survived += 1
        key = digest(canonical_plan(plan, request.registry))
        if key not in options:
            options[key] = Option(key, fitting, rating)
        elif not options[key].rated:
            options[key] = Option(key, options[key].priced, rating)
    opinions = [option.rating.sd for option in options.values() if option.rated]
    mean = sum(opinions) / len(opinions) if opinions else 0.0
    return Assessed(
        tuple(options.values()), survived, len(draft.written) - survived, len(options) - len(opinions), mean
    )


def _fitting(plan: Plan, request: PlanRequest) -> Priced | None:
    return priced(renamed(plan, request.registry, request.task), request) if serves(plan, request) else None


def _sound(rating: Rating) -> Rating:
    if not (math.isfinite(rating.quality) and -1.0 <= rating.quality <= 2.0 and 0.0 <= rating.sd < math.inf):
        raise Unusable(
            f"rated a plan with quality {rating.quality} +- {rating.sd}, which is no estimate of a number in [0, 1]"
        )
    return rating
