"""Prometheus metrics: vLLM's names where the meaning is vLLM's, `catp_*` for money, expectations and decisions.

Everything is read at the time of a scrape: now from the engine's snapshot, the rest from the meter's sums over requests
that ended; only histograms are kept here. The registry is the server's own.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from catp.planlang.money import NANO_PER_USD
from catp.serving.metering.meter import Meter
from catp.serving.metering.record import RequestRecord
from catp.serving.metering.totals import KINDS
from catp.serving.server.backend import Health, Snapshot

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

__all__ = ["Metrics"]

_SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
)  # fmt: skip
_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)

_HISTOGRAMS = {
    "vllm:time_to_first_token_seconds": ("ttft", "Seconds from arrival to the first token.", _SECONDS),
    "vllm:request_time_per_output_token_seconds": ("tpot", "Mean seconds between tokens of a request.", _SECONDS),
    "vllm:e2e_request_latency_seconds": ("e2e", "Seconds from arrival to the end.", _SECONDS),
    "vllm:request_queue_time_seconds": ("queued", "Seconds from arrival to the first step.", _SECONDS),
    "vllm:request_prompt_tokens": ("prompt_tokens", "Prompt tokens of a request.", _TOKENS),
    "vllm:request_generation_tokens": ("output_tokens", "Tokens written for a request.", _TOKENS),
}

_GAUGES: tuple[tuple[str, str, str], ...] = (
    ("vllm:num_requests_running", "running", "Requests that run."),
    ("vllm:num_requests_waiting", "waiting", "Requests that wait."),
    ("vllm:kv_cache_usage_perc", "kv_use", "Share of KV blocks in use, 0 to 1."),
    ("catp_waiting_tokens", "waiting_tokens", "Prompt tokens of requests that wait."),
    ("catp_sequences_running", "sequences", "Branches that run."),
    ("catp_step_tokens", "step_tokens", "Tokens of the last step."),
    ("catp_token_budget", "token_budget", "Most tokens of a step, in force now."),
    ("catp_length_drift", "drift", "1 if predicted lengths have drifted away from what is seen."),
)
_COUNTERS: tuple[tuple[str, str, str], ...] = (
    ("vllm:num_preemptions", "preemptions", "Preemptions."),
    ("catp_steps", "steps", "Steps of the engine."),
    ("catp_step_failures", "step_failures", "Steps that failed."),
    ("catp_engine_restarts", "restarts", "Restarts of the engine's thread."),
    ("catp_busy_seconds", "busy_seconds", "Device seconds of all steps."),
    ("catp_prefill_tokens", "prefill_tokens", "Prompt tokens computed in steps."),
    ("catp_decode_tokens", "decode_tokens", "Tokens behind prompts computed in steps."),
    ("catp_policy_fallbacks", "policy_fallbacks", "Orders made by first come, first served in the policy's stead."),
)
_TOKEN_COUNTERS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("vllm:prompt_tokens", ("fresh", "cached"), "Prompt tokens of requests that ended."),
    ("vllm:generation_tokens", ("output",), "Tokens written for requests that ended, forced ones included."),
    ("vllm:prefix_cache_queries", ("fresh", "cached"), "Prompt tokens looked up in the prefix cache."),
    ("vllm:prefix_cache_hits", ("cached",), "Prompt tokens found in the prefix cache."),
)
_FINISHED = {"stop": "stop", "length": "length"}


class Metrics:
    """Renders metrics; needs the extra `serve`.

    Args:
        meter: sums of requests that ended.
        snapshot, health: the engine's.
        model: label of vLLM's metrics.
        streams: answers the server is giving now.
    """

    def __init__(
        self, meter: Meter, snapshot: Callable[[], Snapshot], health: Callable[[], Health], model: str,
        streams: Callable[[], int],
    ) -> None:  # fmt: skip
        from prometheus_client import CollectorRegistry, Histogram

        self._meter, self._snapshot, self._health, self._model, self._streams = meter, snapshot, health, model, streams
        self._registry = CollectorRegistry(auto_describe=False)
        self._histograms = {
            field: Histogram(name, text, ["model_name"], buckets=buckets, registry=self._registry).labels(model)
            for name, (field, text, buckets) in _HISTOGRAMS.items()
        }
        self._registry.register(self)
        meter.listen(self._observe)

    def render(self) -> tuple[bytes, str]:
        """Return the metrics in Prometheus' text form, and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def collect(self) -> "Iterator[Metric]":
        """Yield everything but the histograms."""
        yield from self._of_engine()
        yield from self._of_requests()
        yield from self._of_groups()

    def _observe(self, record: RequestRecord) -> None:
        for field, histogram in self._histograms.items():
            if (value := getattr(record, field)) is not None:
                histogram.observe(value)

    def _of_engine(self) -> "Iterator[Metric]":
        now, health = self._snapshot(), self._health()
        for name, field, text in _GAUGES:
            yield _gauge(name, text, ["model_name"], [([self._model], float(getattr(now, field)))])
        for name, field, text in _COUNTERS:
            yield _counter(name, text, ["model_name"], [([self._model], float(getattr(now, field)))])
        times = [(q, took) for q, took in (("0.5", now.decision_p50), ("0.99", now.decision_p99)) if took is not None]
        yield _gauge("catp_decision_seconds", "Seconds to decide a step, of late.", ["quantile"],
                     [([quantile], took) for quantile, took in times])  # fmt: skip
        yield _gauge("catp_policy", "1 for the queue policy in force.", ["policy"], [([now.policy], 1.0)])
        yield _gauge("catp_ready", "1 if requests are taken.", [], [([], float(health.ready))])
        age = health.last_step_age
        yield _gauge("catp_last_step_age_seconds", "Seconds since the last step.", [],
                     [] if age is None else [([], age)])  # fmt: skip
        yield _gauge("catp_streams", "Answers being given now.", [], [([], float(self._streams()))])
        yield _gauge("catp_engine", "Further figures of the engine.", ["name"],
                     [([name], float(value)) for name, value in sorted(now.extra.items())])  # fmt: skip

    def _of_requests(self) -> "Iterator[Metric]":
        totals = self._meter.totals
        for name, kinds, text in _TOKEN_COUNTERS:
            yield _counter(name, text, ["model_name"], [([self._model], totals.tokens(*kinds))])
        forced = sum(group.forced for group in totals.groups.values())
        yield _counter("catp_forced_tokens", "Tokens written that were no decision.", [], [([], forced)])
        success: dict[str, int] = {}
        for (_, _, _, finish, _), count in totals.requests.items():
            reason = _FINISHED.get(finish, "abort")
            success[reason] = success.get(reason, 0) + count
        yield _counter("vllm:request_success", "Requests that ended, by how.", ["model_name", "finished_reason"],
                       [([self._model, reason], count) for reason, count in success.items()])  # fmt: skip
        yield _counter("catp_requests", "Requests that ended.", ["tenant", "adapter", "endpoint", "finish", "code"],
                       [(list(key), count) for key, count in totals.requests.items()])  # fmt: skip
        yield _counter("catp_refused", "Requests that were not accepted.", ["tenant", "code"],
                       [(list(key), count) for key, count in self._meter.refused.items()])  # fmt: skip
        yield _counter("catp_slo_requests", "Requests with an expectation, by whether it was met.",
                       ["tenant", "slo", "met"],
                       [([t, name, str(met).lower()], n) for (t, name, met), n in totals.slo.items()])  # fmt: skip
        yield _gauge("catp_slo_attainment", "Share of requests that met an expectation, of those that had it.", ["slo"],
                     [([name], share) for name, share in totals.attainment().items()])  # fmt: skip
        yield _gauge("catp_latency_seconds", "Quantiles over the last 2048 requests.", ["of", "quantile"],
                     [([of, str(q)], took) for (of, q), took in totals.quantiles().items()])  # fmt: skip
        failures = 0 if self._meter.log is None else self._meter.log.failures
        yield _counter("catp_request_log_failures", "Lines of the request log that could not be written.", [],
                       [([], failures)])  # fmt: skip

    def _of_groups(self) -> "Iterator[Metric]":
        groups = self._meter.totals.groups
        labels = ["tenant", "adapter", "kind"]
        each = [(list(key), kind, group) for key, group in groups.items() for kind in KINDS]
        yield _counter("catp_tokens", "Tokens of requests that ended: fresh and cached prompt, output.", labels,
                       [([*key, kind], group.tokens[kind]) for key, kind, group in each])  # fmt: skip
        yield _counter("catp_device_seconds", "Device seconds attributed to requests that ended.", labels,
                       [([*key, kind], group.seconds[kind]) for key, kind, group in each])  # fmt: skip
        yield _counter("catp_cost_usd", "US dollars of device seconds of requests that ended.", labels,
                       [([*key, kind], group.money[kind] / NANO_PER_USD) for key, kind, group in each])  # fmt: skip
        yield _counter("catp_unpriced_requests", "Requests that ended and whose price nobody knows.", labels[:2],
                       [(list(key), group.unpriced) for key, group in groups.items()])  # fmt: skip
        yield _gauge("catp_usd_per_1k_tokens", "Mean US dollars of 1,000 tokens.", labels,
                     [([*key, kind], nano / NANO_PER_USD) for key, kind, group in each
                      if (nano := group.per_1k(kind)) is not None])  # fmt: skip
        yield _gauge("catp_usd_per_plan", "Mean US dollars of an answered request for plans.", labels[:2],
                     [(list(key), nano / NANO_PER_USD) for key, group in groups.items()
                      if (nano := group.per_plan()) is not None])  # fmt: skip
        price = self._meter.price.nano_per_second
        yield _gauge("catp_usd_per_device_second", "Price of a device second.", [],
                     [] if price is None else [([], float(price) / NANO_PER_USD)])  # fmt: skip


def _gauge(name: str, text: str, labels: list[str], samples: "list[tuple[list[str], Any]]") -> "Metric":
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _counter(name: str, text: str, labels: list[str], samples: "list[tuple[list[str], Any]]") -> "Metric":
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family
