"""Attention of one layer on a CPU: shared prefixes against gathered ones and against contiguous keys.

    .venv/bin/python benchmarks/attention.py [--quick]

Sixteen rows of a catalogue (the prefix, in common) and a tail of their own, the new tokens of a decoding step or of
forced runs, and one row alone, which shares nothing. Methods are interleaved in one process, and figures are CPU
milliseconds of one thread a layer, over eight layers in turn so that caches are as cold as in a model:

    shared       `SharedAttention`: the engine's
    rows         the same without its workspace of tails: a call for each row's tail
    gather       `GatherAttention`: each row's keys and values gathered from the pool, then torch's attention
    contiguous   torch's attention over keys and values that lie contiguous for each row already (prefixes repeated),
                 which is what a cache without pages does; nothing is written
    arithmetic   the products alone (queries x keys, shares x values) of the prefix and the tails: what cannot be saved

Outputs of `shared`, `rows` and `gather` are compared; the greatest difference is in the JSON.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from catp.serving.engine.request import Branch, Job, Read, Request
from catp.serving.engine.step import Row
from catp.serving.model.attention.base import Attention
from catp.serving.model.attention.sdpa import GatherAttention
from catp.serving.model.attention.shared import SharedAttention
from catp.serving.model.batch import Batch, pack
from catp.serving.model.kvcache import KVCache

RESULTS = Path(__file__).parent / "results" / "attention.json"
LAYERS, SIZE, TAIL, BLOCK, SPARE = 8, 64, 100, 16, 16
CPU = torch.device("cpu")

CASES = [  # rows, prefix, query heads, kv heads, new tokens a row
    (16, 1024, 8, 8, 1), (16, 1024, 8, 8, 2), (16, 1024, 8, 8, 4), (16, 1024, 8, 4, 1), (16, 1024, 8, 2, 1),
    (16, 512, 8, 8, 1), (4, 1024, 8, 8, 1), (1, 1024, 8, 8, 1), (64, 1024, 8, 8, 1),
]  # fmt: skip


class Case:
    """Rows whose first blocks are the same, one cache in two layouts, and what each method needs."""

    def __init__(self, rows: int, prefix: int, heads: int, kv_heads: int, new: int) -> None:
        self.rows, self.prefix, self.heads, self.kv_heads, self.new = rows, prefix, heads, kv_heads, new
        common, each = prefix // BLOCK, SPARE
        shape = (LAYERS, common + rows * each, BLOCK, kv_heads, SIZE)
        self.plain = KVCache(*shape, dtype=torch.float32, device=CPU)
        self.plain.data.normal_()
        self.heads_first = KVCache(*shape, dtype=torch.float32, device=CPU, heads_first=True)
        self.heads_first.data.copy_(self.plain.data)
        job = Job(Request("r", (), 1), None)  # type: ignore[arg-type]  # nothing asks the program
        end = prefix + each * BLOCK
        self.branches = [
            Branch(job, row, [0] * end, blocks=[*range(common), *range(common + row * each, common + (row + 1) * each)])
            for row in range(rows)
        ]
        count = rows * new
        self.q = torch.randn(count, heads, SIZE)
        self.k, self.v = torch.randn(2, count, kv_heads, SIZE)
        self.whole = torch.randn(LAYERS, 2, rows, kv_heads, prefix + TAIL, SIZE)
        self.methods: dict[str, tuple[Attention, KVCache]] = {
            "shared": (SharedAttention(), self.heads_first),
            "rows": (SharedAttention(0), self.heads_first),
            "gather": (GatherAttention(), self.plain),
        }

    def batch(self, step: int) -> Batch:
        begin = self.prefix + TAIL + step * self.new
        for branch in self.branches:
            branch.reads = [Read(begin + self.new - 1)]
        return pack([Row(branch, begin, self.new) for branch in self.branches], BLOCK, CPU)

    def paged(self, name: str, step: int) -> tuple[float, float, Tensor]:
        """One step: milliseconds of `begin`, and a layer in the mean; the last layer's output."""
        attention, cache = self.methods[name]
        batch = self.batch(step)
        began = time.thread_time()
        attention.begin(batch, cache)
        ready = time.thread_time()
        for layer in range(LAYERS):
            found = attention.attend(layer, self.q, self.k, self.v, cache)
        return (ready - began) * 1e3, (time.thread_time() - ready) / LAYERS * 1e3, found

    def contiguous(self, layer: int) -> Tensor:
        q = self.q.view(self.rows, self.new, self.heads, SIZE).transpose(1, 2)
        return F.scaled_dot_product_attention(q, self.whole[layer, 0], self.whole[layer, 1], enable_gqa=True)

    def arithmetic(self, layer: int) -> Tensor:
        """Products over the prefix with all queries, and over all tails row by row."""
        group, common = self.heads // self.kv_heads, self.whole[layer, :, 0, :, : self.prefix]
        q = self.q.view(-1, self.kv_heads, group, SIZE).transpose(0, 1).reshape(self.kv_heads, -1, SIZE)
        torch.bmm(torch.bmm(q, common[0].transpose(1, 2)), common[1])
        tails = self.whole[layer, :, :, :, self.prefix :].flatten(1, 2)
        q = self.q.view(self.rows, self.new, self.kv_heads, group, SIZE).transpose(1, 2)
        q = q.reshape(self.rows * self.kv_heads, -1, SIZE)
        return torch.bmm(torch.bmm(q, tails[0].transpose(1, 2)), tails[1])


def layered(work: Callable[[int], Tensor]) -> float:
    began = time.thread_time()
    for layer in range(LAYERS):
        work(layer)
    return (time.thread_time() - began) / LAYERS * 1e3


def measure(case: Case, repeats: int) -> dict[str, object]:
    times: dict[str, list[float]] = {name: [] for name in ("shared", "rows", "gather", "contiguous", "arithmetic")}
    begins: list[float] = []
    worst = 0.0
    for step in range(repeats + 1):  # the first warms up
        outputs = {}
        for name in case.methods:
            begin, layer, outputs[name] = case.paged(name, step)
            times[name].append(layer)
            if name == "shared":
                begins.append(begin)
        times["contiguous"].append(layered(case.contiguous))
        times["arithmetic"].append(layered(case.arithmetic))
        worst = max(worst, *((outputs[name] - outputs["gather"]).abs().max().item() for name in ("shared", "rows")))
    return {
        "rows": case.rows, "prefix": case.prefix, "tail": TAIL, "heads": case.heads, "kv_heads": case.kv_heads,
        "new": case.new, "begin_ms": statistics.median(begins[1:]), "difference": worst,
        "median_ms": {name: statistics.median(found[1:]) for name, found in times.items()},
        "least_ms": {name: min(found[1:]) for name, found in times.items()},
    }  # fmt: skip


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three repeats of the first case")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = []
    names = ("shared", "rows", "gather", "contiguous", "arithmetic")
    print("CPU ms a layer, least of repeats (median)")
    print(f"{'rows x prefix, heads/kv, new':30}" + "".join(f"{name:>17}" for name in names) + f"{'begin':>9}")
    with torch.inference_mode():
        for shape in CASES[:1] if options.quick else CASES:
            result = measure(Case(*shape), 3 if options.quick else 12)
            found.append(result)
            rows, prefix, heads, kv_heads, new = shape
            least, median = result["least_ms"], result["median_ms"]
            assert isinstance(least, dict)
            assert isinstance(median, dict)
            cells = "".join(f"{f'{least[name]:.2f} ({median[name]:.2f})':>17}" for name in names)
            print(f"{f'{rows} x {prefix}, {heads}/{kv_heads}, {new}':30}{cells}{result['begin_ms']:9.2f}", flush=True)
    if not options.quick:
        machine = {
            "cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__,
            "load": os.getloadavg()[0],
        }  # fmt: skip
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps({"machine": machine, "layers": LAYERS, "cases": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
