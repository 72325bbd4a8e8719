"""Figures of a moment, from what was seen: gauges as they are, rates from counters, quantiles from histograms.

    rate      what a counter grew by since the look before, by second
    over 30 s preemptions, quantiles (linear inside a bucket, as PromQL's histogram_quantile) and the share of prompt
              tokens found

Where there is nothing to say (no request ended, a gap, a restart) a figure is None.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TypeVar

from catp.dashboard.engine.scrape import Scrape

__all__ = ["COLUMNS", "LATEST", "WINDOW_S", "figures", "quantile"]

K = TypeVar("K")

WINDOW_S = 30.0
"""Seconds that quantiles and the prefix cache's hits are over."""

_GAUGES = {
    "running": "running", "waiting": "waiting", "waiting_tokens": "waiting_tokens", "sequences": "sequences",
    "step_tokens": "step_tokens", "token_budget": "token_budget", "kv_used": "kv_used",
    "kv_blocks_used": "kv_blocks_used", "kv_blocks_cached": "kv_blocks_cached", "kv_blocks_free": "kv_blocks_free",
    "drift": "drift",
}  # fmt: skip
_RATES = {
    "preemptions_s": "preemptions", "prefill_tok_s": "prefill", "decode_tok_s": "decode", "steps_s": "steps",
    "finished_s": "finished", "refused_s": "refused", "fallbacks_s": "fallbacks", "busy": "busy",
}  # fmt: skip
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_TIMES = ("ttft", "tpot", "e2e", "queue")

LATEST = frozenset(["prefix_hit", "preempted", *(f"{name}_{q}_ms" for name in _TIMES for q in _QUANTILES)])
"""Columns that look back by themselves: of several moments the last one counts, of all others the mean."""

COLUMNS: tuple[str, ...] = (
    *_GAUGES, *_RATES, "step_ms", "decision_p50_ms", "decision_p99_ms", "prefix_hit", "preempted",
    *(f"{name}_{q}_ms" for name in _TIMES for q in _QUANTILES),
)  # fmt: skip
"""Figures by name; times in ms, `busy` in device seconds by second, `kv_used` and `prefix_hit` as shares."""


def figures(now: Scrape, before: Scrape | None, start: Scrape | None) -> dict[str, float | None]:
    """Return all columns.

    Args:
        now: the newest look.
        before: the one before it, None if there is none that it can be compared to.
        start: the one where the window begins.
    """
    found: dict[str, float | None] = dict.fromkeys(COLUMNS)
    found.update({column: now.gauges.get(name) for column, name in _GAUGES.items()})
    for quantile_, column in (("0.5", "decision_p50_ms"), ("0.99", "decision_p99_ms")):
        took = now.gauges.get(f"decision_{quantile_}")
        found[column] = None if took is None else took * 1000
    if before is not None and now.at > before.at:
        grown = _grown(now.counters, before.counters)
        found.update({column: _by(grown.get(name), now.at - before.at) for column, name in _RATES.items()})
        found["step_ms"] = _by(grown.get("busy"), grown.get("steps", 0.0) / 1000)
    if start is not None:
        grown = _grown(now.counters, start.counters)
        found["preempted"] = grown.get("preemptions")
        found["prefix_hit"] = _by(grown.get("prefix_hits"), grown.get("prefix_queries", 0.0))
        for name in _TIMES:
            buckets = _grown(now.histograms.get(name, {}), start.histograms.get(name, {}))
            for label, share in _QUANTILES.items():
                took = quantile(sorted(buckets.items()), share)
                found[f"{name}_{label}_ms"] = None if took is None else took * 1000
    return found


def quantile(buckets: Sequence[tuple[float, float]], share: float) -> float | None:
    """Return a quantile of a histogram, None if it is empty or counts down.

    Args:
        buckets: upper bound (the last is infinity) and how many were at most that, ascending.
        share: 0 to 1.
    """
    if not buckets or buckets[-1][1] <= 0 or any(b[1] < a[1] for a, b in pairwise(buckets)):
        return None
    wanted = share * buckets[-1][1]
    low, below = 0.0, 0.0
    for bound, count in buckets:
        if count >= wanted and count > below:
            return low if bound == float("inf") else low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound, count
    return None


def _grown(now: Mapping[K, float], before: Mapping[K, float]) -> dict[K, float]:
    return {name: value - before.get(name, 0.0) for name, value in now.items()}


def _by(amount: float | None, unit: float) -> float | None:
    return None if amount is None or unit <= 0 else amount / unit
