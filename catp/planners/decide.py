"""Choosing among plans whose price is known and whose quality is an opinion with a standard deviation.

    decision = alpha * (quality - kappa * sd) - (1 - alpha) * price / scale

The switch rule (training.md 5.4): the cheapest plan is kept unless another one's decision exceeds by `margin` what the
cheapest may be worth at most, alpha * (quality + kappa * sd) - (1 - alpha) * price / scale. So nothing is paid on an
opinion that the policy does not hold firmly; with kappa = margin = 0 the rule is plain argmax.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from catp.planlang.money import Money
from catp.planners.pricing import Priced
from catp.planners.protocol import Candidate, Objective
from catp.planners.search import AS_GOOD
from catp.planners.writer import Rating

__all__ = ["Decision", "Option", "candidate", "decide", "price_scale"]


@dataclass(frozen=True, slots=True)
class Option:
    """A plan that fits. `key` identifies what it does. `rated` is False if its quality is not the policy's but that of
    the tools' profiles, and `known` if even they do not know."""

    key: str
    priced: Priced
    rating: Rating
    known: bool = True
    rated: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """All options, best first, and the one that would have been first but for the switch rule."""

    ranked: tuple[Option, ...]
    held_back: Option | None


def price_scale(options: Sequence[Option], objective: Objective) -> Money:
    """The objective's, else the price of the cheapest plan about as good as the best one (docs/adr/0002)."""
    if objective.price_scale is not None:
        return objective.price_scale
    priced = [option for option in options if option.priced.price.priced]
    best = max((option.rating.possible for option in priced), default=0.0)
    good = [option.priced.expected for option in priced if option.rating.possible >= best - AS_GOOD]
    return Money(min(good, default=0) or 1)


def decide(
    options: Sequence[Option], objective: Objective, scale: Money, *, kappa: float = 0.0, margin: float = 0.0
) -> Decision:
    """Order the options. Of equal ones the cheaper, then the faster comes first; unknown prices come last."""

    def order(option: Option) -> tuple[bool, float, tuple[int, float], str]:
        unpriced = not option.priced.price.priced
        return unpriced, -_worth(option, objective, scale, -kappa), option.priced.rank, option.key

    ranked = sorted(options, key=order)
    cheapest = min(ranked, key=lambda option: option.priced.rank)
    best = ranked[0]
    if best is cheapest:
        return Decision(tuple(ranked), None)
    at_most = _worth(cheapest, objective, scale, kappa)
    if _worth(best, objective, scale, -kappa) > at_most + margin:
        return Decision(tuple(ranked), None)
    ranked.remove(cheapest)
    held_back = best if kappa or margin else None  # otherwise the two are worth the same
    return Decision((cheapest, *ranked), held_back)


def candidate(option: Option, objective: Objective, scale: Money) -> Candidate:
    """The option as planners return it: its utility takes the predicted quality at its word, even above 1."""
    quality = option.rating.possible if option.known else None
    utility = _worth(option, objective, scale, 0.0)
    return Candidate(option.priced.plan, option.priced.price, option.priced.latency, quality, utility)


def _worth(option: Option, objective: Objective, scale: Money, deviations: float) -> float:
    """Utility with the quality moved by so many standard deviations; an unknown price counts as the full scale."""
    quality = option.rating.quality + deviations * option.rating.sd
    if deviations > 0:  # no plan can be better than 1, so doubt adds nothing to what is rated so already
        quality = max(option.rating.quality, min(1.0, quality))
    price = option.priced.price.expected
    share = price / scale if price is not None else 1.0
    return objective.alpha * quality - (1 - objective.alpha) * share
