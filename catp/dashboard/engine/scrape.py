"""What an engine's `/metrics` says, reduced to what the dashboard shows; what is no finite number is left out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

__all__ = ["Scrape", "Unreadable", "read_metrics"]

GAUGES = {
    "vllm:num_requests_running": "running", "vllm:num_requests_waiting": "waiting",
    "vllm:kv_cache_usage_perc": "kv_used",
    "catp_waiting_tokens": "waiting_tokens", "catp_sequences_running": "sequences", "catp_step_tokens": "step_tokens",
    "catp_token_budget": "token_budget", "catp_length_drift": "drift",
}  # fmt: skip
COUNTERS = {
    "vllm:num_preemptions": "preemptions", "catp_steps": "steps", "catp_busy_seconds": "busy",
    "catp_prefill_tokens": "prefill", "catp_decode_tokens": "decode", "catp_policy_fallbacks": "fallbacks",
    "vllm:prefix_cache_queries": "prefix_queries", "vllm:prefix_cache_hits": "prefix_hits", "catp_requests": "finished",
    "catp_refused": "refused", "catp_step_failures": "step_failures", "catp_engine_restarts": "restarts",
}  # fmt: skip
HISTOGRAMS = {
    "vllm:time_to_first_token_seconds": "ttft", "vllm:request_time_per_output_token_seconds": "tpot",
    "vllm:e2e_request_latency_seconds": "e2e", "vllm:request_queue_time_seconds": "queue",
}  # fmt: skip
_NAMED = {"catp_engine": ("name", ""), "catp_decision_seconds": ("quantile", "decision_")}
_OTHERS = ("catp_engine", "catp_decision_seconds", "catp_policy", "catp_slo_requests")
_MOST_SLO = 40  # names of expectations come from outside, and are remembered for a day
_WANTED = tuple({*GAUGES, *COUNTERS, *HISTOGRAMS, *_OTHERS})


class Unreadable(ValueError):
    """This is no text of Prometheus; the message says where it is wrong."""


@dataclass(frozen=True)
class Scrape:
    """One look. Sums over labels; `histograms` by name, upper bound and how many were at most that (seconds).

    `slo` counts requests by expectation and whether it was met; `at` is seconds since 1970.
    """

    at: float
    gauges: Mapping[str, float] = field(default_factory=dict)
    counters: Mapping[str, float] = field(default_factory=dict)
    histograms: Mapping[str, Mapping[float, float]] = field(default_factory=dict)
    slo: Mapping[tuple[str, bool], float] = field(default_factory=dict)
    policy: str | None = None

    def follows(self, before: "Scrape") -> bool:
        """Whether no counter ran backwards: otherwise it is of another engine, or of one that was started again."""
        counters = all(self.counters.get(name, 0.0) >= value for name, value in before.counters.items())
        slo = all(self.slo.get(key, 0.0) >= value for key, value in before.slo.items())
        return counters and slo and all(
            self.histograms.get(name, {}).get(bound, 0.0) >= count
            for name, buckets in before.histograms.items()
            for bound, count in buckets.items()
        )  # fmt: skip


def read_metrics(text: str, at: float) -> Scrape:
    """Read Prometheus' text form.

    Raises:
        Unreadable: it is something else, or has nothing of an engine in it.
    """
    from prometheus_client.parser import text_string_to_metric_families

    lines = (line for line in text.splitlines() if line.startswith(_WANTED))  # the rest need not be read, nor be right
    gauges: dict[str, float] = {}
    counters: dict[str, float] = {}
    histograms: dict[str, dict[float, float]] = {}
    slo: dict[tuple[str, bool], float] = {}
    policy = None
    try:
        for family in text_string_to_metric_families("\n".join(lines) + "\n"):
            for name, labels, value, *_ in family.samples:
                base = name.removesuffix("_total")
                if not math.isfinite(value) or value < 0:
                    continue
                if name in GAUGES:
                    gauges[GAUGES[name]] = gauges.get(GAUGES[name], 0.0) + value
                elif base in COUNTERS and base != name:
                    counters[COUNTERS[base]] = counters.get(COUNTERS[base], 0.0) + value
                elif name.removesuffix("_bucket") in HISTOGRAMS and name.endswith("_bucket"):
                    buckets = histograms.setdefault(HISTOGRAMS[name.removesuffix("_bucket")], {})
                    bound = float(labels["le"])
                    buckets[bound] = buckets.get(bound, 0.0) + value
                elif name in _NAMED:
                    label, prefix = _NAMED[name]
                    gauges[f"{prefix}{labels[label]}"] = value
                elif base == "catp_slo_requests" and base != name:
                    key = labels["slo"][:40], labels["met"] == "true"
                    slo[key] = slo.get(key, 0.0) + value
                elif name == "catp_policy" and value:
                    policy = labels["policy"][:60]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise Unreadable(f"its /metrics is not what Prometheus reads: {str(error)[:200]}") from error
    if "running" not in gauges:
        raise Unreadable("its /metrics has no vllm:num_requests_running: it is no engine of catp")
    return Scrape(at, gauges, counters, histograms, dict(islice(slo.items(), _MOST_SLO)), policy)
