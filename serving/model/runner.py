"""One step on the device: copy blocks, pack rows, forward, and read what programs asked for."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from catp.serving.engine.errors import EngineFailed, OutOfMemory
from catp.serving.engine.program import Result
from catp.serving.engine.request import Branch, Read
from catp.serving.engine.step import Row, Step, StepResult, reads_in
from catp.serving.model.attention.base import Attention
from catp.serving.model.attention.sdpa import GatherAttention
from catp.serving.model.attention.shared import SharedAttention
from catp.serving.model.batch import pack
from catp.serving.model.heads import Heads
from catp.serving.model.kvcache import KVCache
from catp.serving.model.llama import Adapters, Llama
from catp.serving.model.sampler import sample
from catp.serving.model.weights import Weights

if TYPE_CHECKING:
    from catp.serving.model.graphs import DecodeGraphs

__all__ = ["AdapterSource", "ModelRunner"]


class AdapterSource(Protocol):
    """Adapters that are loaded (`lora`)."""

    def select(self, digests: Sequence[str | None], counts: Sequence[int]) -> Adapters | None:
        """Return what a step's rows need, each of so many tokens; None if no row has an adapter."""
        ...


class ModelRunner:
    """Implements `catp.serving.engine.step.Runner` with a model.

    torch's threads are a setting of the whole process (and of the thread that first asks), and a step is slower by a
    factor of ten with more threads than free cores (serving.md section 4): the runner takes all cores but one, at least
    one, and leaves that one to HTTP and the scheduler.

    Args:
        weights: of the model.
        blocks, block_size: of the pool.
        plan_ids: tokens of the plan rows, in the order in which programs read them.
        attention: backend; None: the best one for the device.
        threads: CPU threads of a step; None: cores - 1, at least 1.
        adapters: those that are loaded, None: none.
        graph_rows: capture CUDA graphs of decoding steps of up to so many rows; 0: none.

    Raises:
        OutOfMemory: the pool does not fit.
    """

    def __init__(
        self, weights: Weights, blocks: int, block_size: int, *, plan_ids: Sequence[int] = (),
        attention: Attention | None = None, threads: int | None = None, adapters: AdapterSource | None = None,
        graph_rows: int = 0,
    ) -> None:  # fmt: skip
        config = weights.config
        self.model, self.heads = Llama(weights), Heads(weights, plan_ids)
        self.attention = attention or _attention(weights)
        self.adapters = adapters
        self.threads = threads if threads is not None else max(1, (os.cpu_count() or 1) - 1)
        with _memory(f"{blocks} blocks of {block_size} tokens"):
            self.cache = KVCache(
                config.layers, blocks + (graph_rows > 0), block_size, config.kv_heads, config.head_size,
                dtype=weights.dtype, device=weights.device, heads_first=isinstance(self.attention, SharedAttention),
            )  # fmt: skip
        self.block_size, self.device = block_size, weights.device
        self._clock = _clock(weights.device, self.threads)
        self._graphs = _graphs(self.model, self.cache, graph_rows) if graph_rows else None

    @torch.inference_mode()
    def execute(self, step: Step) -> StepResult:
        """Compute a step; see `Runner`. What is wrong with one row's logits stands in its own results.

        `seconds` are seconds of the device: CPU time of this thread if it computes alone, else wall time.

        Raises:
            OutOfMemory: nothing was computed.
        """
        if torch.get_num_threads() != self.threads:  # each thread of the process has its own number
            torch.set_num_threads(self.threads)
        began = self._clock()
        with _memory(f"a step of {step.tokens} tokens"):
            self.cache.copy(step.copies)
            results = self._compute(step.rows) if step.rows else ()
        return StepResult(tuple(results), self._clock() - began)

    def _compute(self, rows: Sequence[Row]) -> Sequence[Result]:
        adapters = None
        if self.adapters is not None:
            digests = [row.branch.job.request.adapter for row in rows]
            adapters = self.adapters.select(digests, [row.count for row in rows])
        batch = pack(rows, self.block_size, self.device)
        hidden = self._graphs.forward(batch) if self._graphs is not None and adapters is None else None
        if hidden is None:
            hidden = self.model.forward(batch, self.cache, self.attention, adapters)
        places = torch.tensor(batch.reads, dtype=torch.int64).to(self.device)
        wanted = [(row.branch, row.branch.reads[number]) for row in rows for number in reads_in(row)]
        found: dict[int, Result] = {}
        for plan in (True, False):
            chosen = [place for place, (_, read) in enumerate(wanted) if plan == (not read.draws)]
            if chosen:
                logits = self._logits(hidden, places, chosen, adapters, plan=plan)
                results = (_plan_results if plan else _text_results)(logits, [wanted[place] for place in chosen])
                found.update(zip(chosen, results, strict=True))
        return [found[place] for place in range(len(wanted))]

    def _logits(
        self, hidden: torch.Tensor, places: torch.Tensor, chosen: Sequence[int], adapters: Adapters | None, *,
        plan: bool,
    ) -> torch.Tensor:  # fmt: skip
        """Logits of those of the reads that want this head."""
        if len(chosen) < len(hidden):
            those = torch.tensor(chosen, dtype=torch.int64).to(self.device)
            hidden, places = hidden[those], places[those]
        logits = self.heads.plan(hidden) if plan else self.heads.text(hidden)
        if adapters is not None:
            adapters.logits(logits, hidden, places, plan=plan)
        return logits


def _attention(weights: Weights) -> Attention:
    """The best backend for a device; Triton comes with torch for CUDA, but can be missing."""
    if weights.device.type == "cpu":
        return SharedAttention()
    try:
        from catp.serving.model.attention.triton_paged import TritonAttention
    except ImportError:
        return GatherAttention()
    return TritonAttention()


def _graphs(model: Llama, cache: KVCache, rows: int) -> "DecodeGraphs":
    """Capture graphs; the cache has a spare block for their padding."""
    if cache.data.device.type != "cuda":
        raise ValueError(f"graphs are captured on CUDA, not on {cache.data.device.type!r}; leave graph_rows at 0")
    from catp.serving.model.graphs import DecodeGraphs

    with _memory(f"CUDA graphs of {rows} rows"), torch.inference_mode():
        return DecodeGraphs(model, cache, model.config.positions, rows)


def _plan_results(logits: torch.Tensor, reads: Sequence[tuple[Branch, Read]]) -> list[Result]:
    values = logits.float().cpu().numpy()
    finite = np.isfinite(values).all(axis=1)
    return [
        Result(branch, read.at, logits=row) if fine else Result(branch, read.at, error=_nan(branch, read))
        for row, fine, (branch, read) in zip(values, finite, reads, strict=True)
    ]


def _text_results(logits: torch.Tensor, reads: Sequence[tuple[Branch, Read]]) -> list[Result]:
    return [
        Result(branch, read.at, error=drawn) if isinstance(drawn, EngineFailed) else Result(branch, read.at, drawn)
        for drawn, (branch, read) in zip(sample(logits, [read.draws for _, read in reads]), reads, strict=True)
    ]


def _nan(branch: Branch, read: Read) -> EngineFailed:
    return EngineFailed(
        f"request {branch.job.id!r}: the model computed logits that are NaN or infinite after token {read.at}: its "
        "weights or its adapter's are damaged, or too large for their number format; load another checkpoint"
    )


def _clock(device: torch.device, threads: int) -> Callable[[], float]:
    """Seconds of the device: with several threads, or a GPU, only wall time knows them."""
    if device.type == "cpu":
        return time.thread_time if threads == 1 else time.perf_counter

    def synchronised() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return synchronised


@contextmanager
def _memory(what: str) -> Iterator[None]:
    """Turn what torch raises when memory runs out into `OutOfMemory`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # a GPU has a type for it, a CPU has a message
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise OutOfMemory(f"no memory for {what}: {str(error).partition(chr(10))[0]}") from error
        raise
