"""Composing the calls of one step: attempts in order, retries, guards, hedges, elements, timeouts.

For each element, an attempt is reached if all before it failed or were refused by their guard, and within an attempt,
try j + 1 is made if j tries failed. So every possible call has a probability of being made, its share, and

    expected price = sum of share * expected price of the call
    p95 price      = sum of p95 price * how many elements make that call in 95 of 100 runs (binomial; for one element
                     this counts exactly the calls that more than 5 % of runs make)

Times are put together by `catp.planlang.latency`. Failed calls cost and take what others do. Elements of a mapped step
are independent and all start at once; a hedged attempt that loses is paid in full.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from catp.planlang.latency import Tail, after_timeout, binomial_p95, hedged, in_sequence, slowest_of
from catp.planlang.money import Money
from catp.planlang.notes import StepPolicy
from catp.planlang.registry_view import UNPRICED, CallEstimate, Latency, PriceRange

__all__ = ["ChoiceEstimate", "Offer", "compose"]


@dataclass(frozen=True, slots=True)
class Offer:
    """One attempt: what a call of it is predicted to be, and the probability that its guard accepts a result."""

    call: CallEstimate
    accepts: float = 1.0


@dataclass(frozen=True, slots=True)
class ChoiceEstimate:
    """What running a step once is predicted to be, given that it starts.

    `success` is the probability that one element ends with a value; `timed` is False if the time of an attempt is
    unknown.
    """

    price: PriceRange
    latency: Latency
    calls: float
    max_calls: int
    success: float
    timed: bool = True


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One attempt in its place: the share and time of each of its tries; `latency` is only for hedged steps."""

    tries: tuple[tuple[float, Latency], ...]
    price: PriceRange
    latency: Latency
    accepted: float


def compose(offers: Sequence[Offer], policy: StepPolicy, count: int) -> ChoiceEstimate:
    """Predict a step with these attempts over `count` elements (1 if it is not mapped, 0 for an empty list)."""
    if count == 0:
        return ChoiceEstimate(PriceRange(Money(0), Money(0), Money(0)), Latency(), 0.0, 0, 1.0)
    only = offers[0].call
    simple = len(offers) == count == 1 and not policy.retries and policy.timeout_s is None and policy.budget is None
    if simple:
        return ChoiceEstimate(only.price, only.latency, 1.0, 1, (1.0 - only.failure) * offers[0].accepts, only.timed)
    attempts: list[_Attempt] = []
    reach = 1.0
    for offer in offers:
        attempt = _attempt(offer, policy, reach)
        attempts.append(attempt)
        missed = 1.0 - attempt.accepted
        if policy.hedge_s is not None:  # the next one also starts if this one is merely late
            missed = 1.0 - attempt.accepted * Tail.fit(attempt.latency).within(policy.hedge_s * 1000.0)
        reach *= missed
    calls = count * sum(share for attempt in attempts for share, _ in attempt.tries)
    max_calls = count * len(offers) * (policy.retries + 1)
    success = 1.0 - prod(1.0 - attempt.accepted for attempt in attempts)
    latency = slowest_of(_latency(attempts, policy), count)
    timed = all(offer.call.timed for offer in offers)
    return ChoiceEstimate(_price(attempts, policy, count), latency, calls, max_calls, success, timed)


def _attempt(offer: Offer, policy: StepPolicy, reach: float) -> _Attempt:
    latency, failure = offer.call.latency, offer.call.failure
    if policy.timeout_s is not None:
        latency, late = after_timeout(latency, policy.timeout_s * 1000.0)
        failure = 1.0 - (1.0 - failure) * (1.0 - late)
    tries: list[tuple[float, Latency]] = []
    share, wait = 1.0, 0.0
    for _ in range(policy.retries + 1):
        tries.append((share * reach, Latency(latency.expected_ms + wait, latency.p95_ms + wait)))
        wait = wait * 2 if wait else policy.backoff_ms
        share *= failure
    if policy.hedge_s is not None:  # the hedge looks at this attempt alone, with its retries
        latency = in_sequence([(failure**number, one) for number, (_, one) in enumerate(tries)])
    return _Attempt(tuple(tries), offer.call.price, latency, (1.0 - share) * offer.accepts)


def _price(attempts: Sequence[_Attempt], policy: StepPolicy, count: int) -> PriceRange:
    expected = p95 = 0.0
    for attempt in attempts:
        price = attempt.price
        if price.expected is None or price.p95 is None:
            return UNPRICED
        for share, _ in attempt.tries:
            expected += count * share * price.expected
            p95 += binomial_p95(count, share) * price.p95
    low = float(count * (attempts[0].price.low or 0))
    cap = float("inf") if policy.budget is None else float(policy.budget)
    # rare calls raise the expectation and not the p95: the range is widened until it holds the expected price
    ordered = (min(low, expected), expected, max(p95, expected))
    return PriceRange(*(Money(round(min(amount, cap))) for amount in ordered))


def _latency(attempts: Sequence[_Attempt], policy: StepPolicy) -> Latency:
    if policy.hedge_s is not None:
        return hedged([(attempt.latency, attempt.accepted) for attempt in attempts], policy.hedge_s * 1000.0)
    return in_sequence([one for attempt in attempts for one in attempt.tries])
