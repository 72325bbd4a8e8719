"""Sums over request records: tokens, device seconds, money and expectations, by tenant and adapter.

The server adds records as requests end; the same class counts a request log anew.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from catp.planlang.money import Money
from catp.serving.metering.record import RequestRecord, kept

__all__ = ["KINDS", "QUANTILES", "RECENT", "Group", "Totals"]

KINDS = ("fresh", "cached", "output")
"""What tokens, seconds and money are told apart by: prompt tokens computed, prompt tokens found, tokens written."""

QUANTILES = (0.5, 0.9, 0.99)

RECENT = 2048
"""Requests that quantiles are over."""


@dataclass
class Group:
    """Sums of one tenant and adapter."""

    tokens: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    money: Counter[str] = field(default_factory=Counter)
    forced: int = 0
    """Tokens written that were no decision."""
    plan_requests: int = 0
    """Requests for plans that were answered, and what they cost."""
    plan_money: int = 0
    unpriced: int = 0
    """Requests whose price nobody knows."""

    def per_1k(self, kind: str) -> float | None:
        """Return nano-USD of 1,000 tokens of a kind; None if there were none, or some are unpriced."""
        return None if self.unpriced or not self.tokens[kind] else 1000 * self.money[kind] / self.tokens[kind]

    def per_plan(self) -> float | None:
        """Return nano-USD of a request for plans; None if there were none, or some are unpriced."""
        return None if self.unpriced or not self.plan_requests else self.plan_money / self.plan_requests


class Totals:
    """All sums. Adding takes microseconds."""

    def __init__(self, records: Iterable[RequestRecord] = ()) -> None:
        self.groups: defaultdict[tuple[str, str], Group] = defaultdict(Group)
        self.requests: Counter[tuple[str, str, str, str, str]] = Counter()
        """By tenant, adapter, endpoint, finish and code."""
        self.slo: Counter[tuple[str, str, bool]] = Counter()
        """By tenant, expectation and whether it was met."""
        self._recent = {name: deque[float](maxlen=RECENT) for name in ("queued", "ttft", "tpot", "e2e")}
        for record in records:
            self.add(record)

    def add(self, record: RequestRecord) -> None:
        """Count a request that ended."""
        group = self.groups[record.tenant, record.adapter]
        group.tokens["fresh"] += record.prompt_tokens - record.cached_tokens
        group.tokens["cached"] += record.cached_tokens
        group.tokens["output"] += record.output_tokens
        for kind in KINDS:
            group.seconds[kind] += getattr(record.seconds, kind)
            group.money[kind] += 0 if record.spent is None else getattr(record.spent, kind)
        group.forced += record.forced_tokens
        group.unpriced += record.spent is None
        if record.endpoint == "plans" and record.finish == "stop":
            group.plan_requests += 1
            group.plan_money += record.price or 0
        self.requests[record.tenant, record.adapter, record.endpoint, record.finish, record.code] += 1
        for name, met in kept(record).items():
            self.slo[record.tenant, name, met] += 1
        for name, recent in self._recent.items():
            if (took := getattr(record, name)) is not None:
                recent.append(took)

    @property
    def money(self) -> Money:
        """What all priced requests cost."""
        return Money(sum(sum(group.money.values()) for group in self.groups.values()))

    @property
    def seconds(self) -> float:
        """Device seconds of all requests that ended."""
        return sum(sum(group.seconds.values()) for group in self.groups.values())

    def tokens(self, *kinds: str) -> int:
        """Return how many tokens of these kinds there were."""
        return sum(group.tokens[kind] for group in self.groups.values() for kind in kinds)

    def attainment(self) -> Mapping[str, float]:
        """Return the share of requests that met each expectation, of those that had it."""
        names = {name for _, name, _ in self.slo}
        counts = {name: Counter({met: sum(n for (_, one, m), n in self.slo.items() if (one, m) == (name, met))
                                 for met in (True, False)}) for name in sorted(names)}  # fmt: skip
        return {name: count[True] / count.total() for name, count in counts.items()}

    def quantiles(self) -> Mapping[tuple[str, float], float]:
        """Return quantiles of seconds over the last requests, by what was timed (nearest rank)."""
        found = {}
        for name, recent in self._recent.items():
            ranked = sorted(recent)
            for quantile in QUANTILES if ranked else ():
                found[name, quantile] = ranked[min(len(ranked) - 1, int(quantile * len(ranked)))]
        return found
