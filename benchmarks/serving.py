"""The engine beside its peers on one machine: plans per CPU second, latency of one plan, its own overhead, ablations.

    python benchmarks/serving.py [--size 30m|5m|tiny] [--requests 16] [--prefix 1000] [--suffix 100] [--repeats 3]

Every engine does the same work with the same random weights, float32, one thread: prompts with a shared catalogue, and
30 tokens of which a toy grammar forces every second one and leaves eight candidates for the others (greedy). What they
write is compared, token by token; transformers' continuous batching cannot keep to a grammar, so it writes freely, as
many tokens. Peers run in the same process, interleaved; figures are medians of ratios within a repeat.

    cb         transformers' continuous batching (paged|sdpa), warm: the second of two rounds over the same catalogue
    hf-prefix  transformers' generate, static batch, keys of the catalogue computed once and reused
    hf         transformers' generate, static batch, everything computed
    ours       the engine, warm; `-jump`, `-prefix`, `-head`, `-shared` are without one of its parts

Prints a table; writes benchmarks/results/serving.json.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from catp.serving.engine.admission import Limits
from catp.serving.engine.blocks import BlockPool
from catp.serving.engine.core import Core
from catp.serving.engine.program import Control, Result
from catp.serving.engine.request import Branch, Job, Read, Request
from catp.serving.engine.scheduler import Scheduler
from catp.serving.model.attention.sdpa import GatherAttention
from catp.serving.model.runner import ModelRunner
from catp.serving.model.weights import from_hf
from catp.serving.policies.costmodel import CostModel
from catp.serving.policies.fcfs import Fcfs
from catp.tools.bench.report import machine

HERE = Path(__file__).parent
SIZES = {"30m": (8, 512, 1408, 8), "5m": (4, 256, 1024, 4), "tiny": (2, 64, 128, 2)}
VOCABULARY = 8192
PLAN = tuple(range(100, 350))
"""The plan rows."""
OUTPUT = 30


def llama(size: str) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    layers, hidden, intermediate, heads = SIZES[size]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=4096, tie_word_embeddings=True,
        initializer_range=0.08, bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def allowed(written: Sequence[int]) -> list[int]:
    """Candidates after so many tokens of output: one at odd places, else eight that depend on the last token."""
    last = written[-1] if written else 7
    if len(written) % 2:
        return [PLAN[(last * 7 + 3) % len(PLAN)]]
    first = (last * 31 + len(written) * 17) % len(PLAN)
    return sorted(PLAN[(first + 13 * number) % len(PLAN)] for number in range(8))


class Toy:
    """A program that writes greedily within the toy grammar, and keeps what it wrote.

    `jump`: forced tokens go in with the choice before them; otherwise each is a step of its own. `plan`: logits are of
    the plan rows. `walkers` start from the same prompt and differ in their first choice.
    """

    def __init__(self, *, jump: bool = True, plan: bool = True, walkers: int = 1) -> None:
        self._jump, self._walkers = jump, walkers
        self._places = {token: place for place, token in enumerate(PLAN)} if plan else None
        self.written: dict[int, list[int]] = {}

    def begin(self, root: Branch, control: Control) -> None:
        self.written[root.number] = []
        control.extend(root, (), [Read(len(root.tokens) - 1)])

    def advance(self, results: Sequence[Result], control: Control) -> None:
        for result in results:
            written = self.written[result.branch.number]
            if not written and self._walkers > 1:
                self._part(result, control)
            else:
                self._go_on(result.branch, self._best(result.logits, allowed(written)), control)
        if not control.job.branches:
            control.finish("stop")

    def _part(self, result: Result, control: Control) -> None:
        tokens = allowed([])
        branches = [result.branch]
        branches += [control.fork(result.branch, len(result.branch.tokens)) for _ in range(self._walkers - 1)]
        for number, branch in enumerate(branches):
            self.written[branch.number] = []
            self._go_on(branch, tokens[number % len(tokens)], control)

    def _best(self, logits: Any, tokens: Sequence[int]) -> int:
        places = tokens if self._places is None else [self._places[token] for token in tokens]
        return tokens[int(np.argmax(logits[places]))]

    def _go_on(self, branch: Branch, token: int, control: Control) -> None:
        written = self.written[branch.number]
        ids = [token]
        while self._jump and len(written) + len(ids) < OUTPUT and len(allowed([*written, *ids])) == 1:
            ids += allowed([*written, *ids])
        written += ids
        if len(written) >= OUTPUT:
            control.close(branch)
        else:
            control.extend(branch, ids, [Read(len(branch.tokens) + len(ids) - 1)], forced=len(ids) - 1)


class _Sink:
    def emit(self, event: Any) -> None: ...

    def ended(self, job: Job, value: Any, why: str, code: str) -> None:
        if job.finish != "stop":
            raise RuntimeError(f"{job.id} ended as {job.finish}: {why}")


@dataclass(frozen=True)
class Way:
    """One configuration of the engine."""

    jump: bool = True
    prefix: bool = True
    head: bool = True
    shared: bool = True
    walkers: int = 1


class Ours:
    """The engine's core on this thread."""

    def __init__(self, model: Any, way: Way, sequences: int = 64) -> None:
        self.way = way
        weights = from_hf(model)
        config = weights.config
        block = 16
        blocks = (1 << 30) // (2 * config.layers * config.kv_heads * config.head_size * 4 * block)
        runner = ModelRunner(
            weights, blocks, block, plan_ids=PLAN if way.head else tuple(range(VOCABULARY)), threads=1,
            attention=None if way.shared else GatherAttention(),
        )  # fmt: skip
        limits = Limits(max_sequences=sequences, token_budget=1024, max_context=4096)
        self.core = Core(Scheduler(BlockPool(blocks, block), limits, Fcfs(), CostModel()), runner, time.perf_counter)
        self._number = 0

    def run(self, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        programs = []
        for prompt in prompts:
            self._number += 1
            program = Toy(jump=self.way.jump, plan=self.way.head, walkers=self.way.walkers)
            salt = None if self.way.prefix else str(self._number)  # the cache takes it for another adapter
            request = Request(str(self._number), tuple(prompt), OUTPUT, self.way.walkers, adapter=salt)
            self.core.submit(request, program, _Sink())
            programs.append(program)
        while self.core.step():
            pass
        return [written for program in programs for written in program.written.values()]


def hf_generate(model: Any, prompts: Sequence[Sequence[int]], kept: Any = None) -> list[list[int]]:
    """transformers' generate on a static batch; `kept` holds the keys of what all prompts begin with, a row each."""
    ids = torch.tensor(prompts)
    length = ids.shape[1]
    with torch.no_grad():
        found = model.generate(
            ids, attention_mask=torch.ones_like(ids), past_key_values=kept, max_new_tokens=OUTPUT, do_sample=False,
            prefix_allowed_tokens_fn=lambda _, so_far: allowed(so_far[length:].tolist()),
        )  # fmt: skip
    return [[int(token) for token in row[length:]] for row in found]


def prefix_cache(model: Any, prefix: Sequence[int]) -> Any:
    from transformers import DynamicCache

    cache = DynamicCache()
    with torch.no_grad():
        model(torch.tensor([list(prefix)]), past_key_values=cache, use_cache=True)
    return cache


def copied(cache: Any, rows: int) -> Any:
    """A cache that generate may write to, of so many rows; making it is not timed."""
    found = copy.deepcopy(cache)
    found.batch_repeat_interleave(rows)
    return found


def continuous(model: Any, prompts: Sequence[Sequence[int]]) -> Callable[[], float]:
    """transformers' continuous batching; returns a function that gives CPU seconds of a warm round."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    settings = GenerationConfig(max_new_tokens=OUTPUT, do_sample=False, eos_token_id=-1, pad_token_id=0)
    length = len(prompts[0]) + OUTPUT
    config = ContinuousBatchingConfig(
        page_size=32, num_blocks=(len(prompts) + 1) * (length // 32 + 2), max_batch_tokens=1024,
        allow_block_sharing=True, use_async_batching=False, use_cuda_graph=False,
    )  # fmt: skip

    def rounds(count: int) -> float:
        began = time.process_time()
        many = [list(prompt) for _ in range(count) for prompt in prompts]
        found = model.generate_batch(many, generation_config=settings, continuous_batching_config=config, warmup=False)
        assert len(found) == len(many)
        return time.process_time() - began

    return lambda: rounds(2) - rounds(1)


def prompts_of(prefix: int, suffix: int, count: int) -> tuple[list[int], list[list[int]]]:
    random = np.random.default_rng(0)
    shared = [int(token) for token in random.integers(400, VOCABULARY, prefix)]
    return shared, [[*shared, *(int(t) for t in random.integers(400, VOCABULARY, suffix))] for _ in range(count)]


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


def measure(args: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(1)
    model = llama(args.size)
    shared, prompts = prompts_of(args.prefix, args.suffix, args.requests)
    ways = {
        "ours": Way(), "ours -jump": Way(jump=False), "ours -prefix": Way(prefix=False),
        "ours -head": Way(head=False), "ours -shared": Way(shared=False),
    }  # fmt: skip
    engines = {name: Ours(model, way) for name, way in ways.items()}
    best = Ours(model, Way(walkers=16))
    expected = hf_generate(model, prompts)
    for engine in engines.values():
        engine.run(prompts[:1])  # warm: the catalogue is cached
    best.run(prompts[:1])
    cache = prefix_cache(model, shared)

    def with_prefix(some: Sequence[Sequence[int]]) -> float:
        kept = copied(cache, len(some))
        return cpu(lambda: hf_generate(model, some, kept))[0]

    peers: dict[str, Callable[[], float]] = {
        "hf": lambda: cpu(lambda: hf_generate(model, prompts))[0],
        "hf-prefix": lambda: with_prefix(prompts),
    }
    if not args.no_cb:
        peers["cb"] = continuous(model, prompts)
    rows: dict[str, list[float]] = {name: [] for name in (*engines, *peers)}
    single: dict[str, list[float]] = {name: [] for name in ("ours", "ours -jump", "hf-prefix", "16 plans", "1 plan")}
    overhead, equal = [], True
    for repeat in range(args.repeats):
        for name, engine in engines.items():
            busy = engine.core.busy
            seconds, found = cpu(lambda engine=engine: engine.run(prompts))  # type: ignore[misc]
            equal &= found == expected
            rows[name].append(seconds)
            if name == "ours":
                overhead.append(1 - (engine.core.busy - busy) / seconds)
        for name, peer in peers.items():
            rows[name].append(peer())
        some = [prompts[(repeat * 4 + number) % len(prompts)] for number in range(4)]
        for name in ("ours", "ours -jump"):
            single[name].append(
                statistics.median(cpu(lambda p=p, name=name: engines[name].run([p]))[0] for p in some)  # type: ignore[misc]
            )
        single["hf-prefix"].append(statistics.median(with_prefix([prompt]) for prompt in some))
        single["1 plan"].append(single["ours"][-1])
        single["16 plans"].append(statistics.median(cpu(lambda p=p: best.run([p]))[0] for p in some))  # type: ignore[misc]
    return {
        "size": args.size, "requests": args.requests, "prefix": args.prefix, "suffix": args.suffix, "output": OUTPUT,
        "parameters": sum(p.numel() for p in model.parameters()), "outputs_equal": equal,
        "plans_per_cpu_s": {name: args.requests / statistics.median(found) for name, found in rows.items()},
        "ratio": {name: _ratio(found, rows["ours"]) for name, found in rows.items() if name != "ours"},
        "single_ms": {name: 1e3 * statistics.median(found) for name, found in single.items()},
        "single_ratio": {name: _ratio(single[name], single["ours"]) for name in ("hf-prefix", "ours -jump")},
        "best_of_16": _ratio(single["16 plans"], single["1 plan"]),
        "overhead": statistics.median(overhead),
        "machine": machine(),
    }  # fmt: skip


def _ratio(slower: Sequence[float], faster: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(slower, faster, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="30m")
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--prefix", type=int, default=1000)
    parser.add_argument("--suffix", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-cb", action="store_true", help="leave transformers' continuous batching out")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "serving.json")
    args = parser.parse_args()
    found = measure(args)
    print(f"{found['parameters'] / 1e6:.1f}M parameters, {args.requests} requests, catalogue {args.prefix} tokens; "
          f"outputs equal: {found['outputs_equal']}")  # fmt: skip
    for name, rate in sorted(found["plans_per_cpu_s"].items(), key=lambda one: -one[1]):
        times = found["ratio"].get(name)
        print(f"  {name:14} {rate:8.2f} plans/CPU s   {'' if times is None else f'ours is {times:.2f}x'}")
    for name, ms in found["single_ms"].items():
        print(f"  one at a time, {name:12} {ms:8.1f} CPU ms")
    print(f"  single-plan latency against hf-prefix {found['single_ratio']['hf-prefix']:.2f}x; "
          f"16 plans cost {found['best_of_16']:.2f}x one; overhead {found['overhead']:.1%} of CPU time")  # fmt: skip
    args.out.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
