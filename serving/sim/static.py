"""The baseline that continuous batching is measured against: fixed batches, each until its longest output is done."""

from collections.abc import Sequence
from dataclasses import dataclass

from catp.serving.policies.costmodel import Load
from catp.serving.sim.profiles import StepTime
from catp.serving.sim.traces import Arrival

__all__ = ["StaticBatches", "static_batches"]


@dataclass(frozen=True, slots=True)
class StaticBatches:
    """Requests per second, and the share of decoded rows whose request still wanted a token."""

    throughput: float
    effective: float


def static_batches(
    arrivals: Sequence[Arrival], times: StepTime, *, batch: int = 32, budget: int = 512
) -> StaticBatches:
    """Serve requests that are all there in batches of `batch`, in order of arrival.

    Prompts are packed into chunks of `budget` tokens without padding, which is kind to the baseline; then all rows are
    decoded until the longest output is there (Orca, OSDI 2022, calls it request-level scheduling).
    """
    seconds, wanted, decoded = 0.0, 0, 0
    for start in range(0, len(arrivals), batch):
        group = arrivals[start : start + batch]
        prompts = [one.prompt_tokens for one in group]
        longest = max(one.output for one in group)
        pairs = sum(count * count / 2 for count in prompts)
        chunks = -(-sum(prompts) // budget)
        seconds += chunks * times.step(Load(sum(prompts) // chunks, pairs / chunks))
        steps = longest - 1  # the first token comes of the prompt
        if steps:
            keys = sum(prompts) + len(group) * longest // 2
            seconds += steps * times.step(Load(len(group), 0.0, len(group), keys))
        wanted += sum(one.output for one in group)
        decoded += longest * len(group)
    return StaticBatches(len(arrivals) / seconds, wanted / decoded)
