"""The training loop beside transformers' Trainer: tokens a second and memory, on the same tokens in the same run.

    python benchmarks/training.py [--steps N] [--lora]

tiny    the network of examples/train/tiny.toml on packed examples of CATP-Bench; one thread of a CPU, or the GPU
lora    a LoRA on a Llama of 7B shape with random weights, 4 rows of 1,024 random tokens; only where CUDA is.
        `--lora` runs it anywhere at a thousandth of the size: it shows that it works, its figures are not written

Ours is the whole loop: examples drawn and packed in the background, tree attention, all losses, our optimiser step.
Trainer gets the same token ids in the same batches, ready-made, with causal attention and next-token loss. It cannot
pack several plans behind one prompt, so its `plans_per_s` is what its speed makes of each plan behind a prompt of its
own. Each measurement has a process of its own; the first step, which warms up, does not count; memory is the peak less
what was held before the model was made. MFU is 6 x parameters x tokens (4 x for frozen weights) over the GPU's peak.

Prints a table; writes benchmarks/results/training.json.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from catp.tools.bench.report import machine
from catp.training.caorl.algorithm import prepare
from catp.training.caorl.config import LoraConfig, TrainConfig
from catp.training.caorl.events import Event, Step
from catp.training.caorl.loop import train
from catp.training.caorl.settings import load_config
from catp.training.caorl.source import Algorithm, Losses

HERE = Path(__file__).parent
TINY = HERE.parent / "examples" / "train" / "tiny.toml"
SHAPE = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
         "num_key_value_heads": 32, "vocab_size": 32000}  # fmt: skip
SMALL = SHAPE | {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4, "num_attention_heads": 4,
                 "num_key_value_heads": 4, "vocab_size": 2000}  # fmt: skip
ROWS = 4
LENGTH, SMALL_LENGTH = 1024, 64
LORA = LoraConfig(rank=64, alpha=64.0, dropout=0.0)
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L4": 121e12, "A10": 125e12}
"""Dense bf16 FLOP/s, from the makers' data sheets."""


class Kept:
    """An algorithm that remembers the token ids and plans of its batches."""

    def __init__(self, inner: Algorithm) -> None:
        self.inner, self.digest = inner, inner.digest
        self.batches: list[list[list[int]]] = []
        self.plans = self.alone = 0

    def __len__(self) -> int:
        return len(self.inner)

    def length(self, number: int) -> int:
        return self.inner.length(number)

    def example(self, number: int, random: np.random.Generator) -> Any:
        return self.inner.example(number, random)

    def batch(self, examples: Sequence[Any]) -> Mapping[str, Any]:
        self.batches.append([one.ids.tolist() for one in examples])
        for one in examples:
            prompt, plans = int((one.branch == -1).sum()), int(one.branch.max()) + 1
            self.plans += plans
            self.alone += plans * prompt + len(one.ids) - prompt
        return self.inner.batch(examples)

    def loss(self, model: Any, batch: Mapping[str, Any]) -> Losses:
        return self.inner.loss(model, batch)

    def evaluate(self, model: Any) -> Mapping[str, float]:
        return {"regret": 0.0}


class Rows:
    """Next-token prediction on random rows: what a LoRA on a large network is measured with."""

    digest = "random"

    def __init__(self, vocabulary: int, length: int) -> None:
        self._vocabulary, self._length = vocabulary, length

    def __len__(self) -> int:
        return 1000

    def length(self, number: int) -> int:
        return self._length

    def example(self, number: int, random: np.random.Generator) -> Any:
        return random.integers(0, self._vocabulary, self._length)

    def batch(self, examples: Sequence[Any]) -> Mapping[str, Any]:
        import torch

        return {"ids": torch.from_numpy(np.stack(examples)), "tokens": len(examples) * self._length}

    def loss(self, model: Any, batch: Mapping[str, Any]) -> Losses:
        found = model(input_ids=batch["ids"], labels=batch["ids"], use_cache=False).loss
        return Losses(found, {"policy": found.detach()})

    def evaluate(self, model: Any) -> Mapping[str, float]:
        return {"regret": 0.0}


def tiny(steps: int) -> TrainConfig:
    """The shipped configuration on a few inputs."""
    config = load_config(TINY)
    config = config.model_copy(update={"data": config.data.model_copy(update={"limit": 64}), "save_every": 10**6})
    optim = config.optim.model_copy(update={"steps": steps, "threads": 1, "warmup": 1})
    return config.model_copy(update={"optim": optim})


def lora(steps: int) -> TrainConfig:
    optim = TrainConfig().optim.model_copy(
        update={"steps": steps, "batch": ROWS, "bf16": True, "gradient_checkpointing": True, "warmup": 1}
    )
    return TrainConfig(lora=LORA, optim=optim, save_every=10**6)


def length_of(shape: Mapping[str, int]) -> int:
    return SMALL_LENGTH if shape is SMALL else LENGTH


def large(shape: Mapping[str, int]) -> Any:
    """A Llama with random weights in bf16, adapters around it."""
    import torch
    from peft import LoraConfig as Peft
    from peft import get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = LlamaForCausalLM(LlamaConfig(**shape, attn_implementation="sdpa"))
    finally:
        torch.set_default_dtype(before)
    adapters = Peft(r=LORA.rank, lora_alpha=LORA.alpha, lora_dropout=LORA.dropout, target_modules=list(LORA.targets))
    return get_peft_model(model, adapters)


def ours(what: str, steps: int, folder: Path, shape: Mapping[str, int]) -> dict[str, Any]:
    """The loop, in this process; leaves the tokens it learned from in the folder."""
    told: list[Step] = []

    def tell(event: Event) -> None:
        if isinstance(event, Step):
            told.append(event)

    algorithm: Algorithm
    if what == "tiny":
        config = tiny(steps)
        ready = prepare(config)
        kept = Kept(ready.algorithm)
        algorithm, model = kept, ready.policy.model
        model.save_pretrained(folder / "model")
        held = memory()
    else:
        config, held = lora(steps), memory()
        algorithm, model = Rows(shape["vocab_size"], length_of(shape)), large(shape)
    train(algorithm, model, config, folder / "run", save_model=lambda *_: None, on_event=tell)
    timed = told[1:]
    tokens, seconds = sum(round(one.tokens_per_s * one.seconds) for one in timed), sum(one.seconds for one in timed)
    found = {"tokens": tokens, "seconds": seconds, "memory": memory() - held, **counts(model)}
    if what == "tiny":
        (folder / "batches.json").write_text(json.dumps(kept.batches[:steps]))
        found |= {"plans": kept.plans / len(kept.batches) * len(timed), "tokens_a_plan_alone": kept.alone / kept.plans}
    return found


def trainers(what: str, steps: int, folder: Path, shape: Mapping[str, int]) -> dict[str, Any]:
    """The same tokens with transformers' Trainer."""
    import torch
    from torch.utils.data import IterableDataset
    from transformers import LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

    config = tiny(steps) if what == "tiny" else lora(steps)
    torch.set_num_threads(config.optim.threads or torch.get_num_threads())
    if what == "tiny":
        batches = json.loads((folder / "batches.json").read_text())
    else:
        drawn = np.random.default_rng(0).integers(0, shape["vocab_size"], (steps, ROWS, length_of(shape)))
        batches = drawn.tolist()
    held = memory()
    model = LlamaForCausalLM.from_pretrained(folder / "model") if what == "tiny" else large(shape)
    if what == "lora":
        model.enable_input_require_grads()
    ends: list[float] = []

    class Tokens(IterableDataset[Any]):
        def __iter__(self) -> Iterator[list[int]]:
            for batch in batches:
                yield from batch

    class Clock(TrainerCallback):  # type: ignore[misc,unused-ignore]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            ends.append(time.perf_counter())

    def collate(rows: Sequence[Sequence[int]]) -> dict[str, Any]:
        longest = max(map(len, rows))
        ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}

    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"), max_steps=steps, per_device_train_batch_size=config.optim.batch,
        learning_rate=config.optim.lr, weight_decay=config.optim.weight_decay, bf16=config.optim.bf16,
        **({"gradient_checkpointing": True} if config.optim.gradient_checkpointing else {}),
        use_cpu=not torch.cuda.is_available(),
        report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True, dataloader_num_workers=0,
        dataloader_pin_memory=False, remove_unused_columns=False,
    )  # fmt: skip
    Trainer(model=model, args=arguments, train_dataset=Tokens(), data_collator=collate, callbacks=[Clock()]).train()
    tokens = sum(len(row) for batch in batches[1:] for row in batch)
    return {"tokens": tokens, "seconds": ends[-1] - ends[0], "memory": memory() - held, **counts(model)}


def counts(model: Any) -> dict[str, int]:
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return {"parameters": sum(n for n, _ in sizes), "trained": sum(n for n, learned in sizes if learned)}


def memory() -> int:
    """Peak bytes so far: allocated on the GPU, or resident."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def gpu() -> str | None:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def measured(what: str, who: str, steps: int, folder: Path, *, small: bool) -> dict[str, Any]:
    """One measurement in a process of its own, away from the project's folder `datasets`."""
    command = [sys.executable, str(Path(__file__).resolve()), "--part", what, who, str(folder), "--steps", str(steps)]
    done = subprocess.run([*command, *(["--lora"] if small else [])], cwd=folder, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout.decode().strip().splitlines()[-1])
    rate = found["tokens"] / found["seconds"]
    flops = (6 * found["trained"] + 4 * (found["parameters"] - found["trained"])) * rate
    peak = next((value for name, value in PEAKS.items() if name in (gpu() or "")), None)
    return found | {
        "seconds": round(found["seconds"], 2), "tokens_per_s": round(rate, 1),
        "memory_mb": round(found["memory"] / 1e6), "gflops": round(flops / 1e9, 1),
        "mfu": None if peak is None else round(flops / peak, 4),
    }  # fmt: skip


def compared(what: str, steps: int, *, small: bool = False) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="catp-training-") as folder:
        found = {who: measured(what, who, steps, Path(folder), small=small) for who in ("ours", "trainer")}
    mine, theirs = found["ours"], found["trainer"]
    if what == "tiny":
        mine["plans_per_s"] = round(mine.pop("plans") / mine["seconds"], 1)
        theirs["plans_per_s"] = round(theirs["tokens_per_s"] / mine.pop("tokens_a_plan_alone"), 1)
    print(f"\n{what}: {mine['parameters']:,} parameters, {mine['trained']:,} trained, {steps - 1} steps")
    for who, row in found.items():
        print(f"  {who:<8} {row['tokens_per_s']:>9,.0f} tokens/s  {row['memory_mb']:>7,} MB  MFU {row['mfu']}  "
              f"{row.get('plans_per_s', '-')} plans/s")  # fmt: skip
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--lora", action="store_true", help="show that the LoRA part works where there is no GPU")
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        what, who, folder = options.part
        run = {"ours": ours, "trainer": trainers}[who]
        print("\n" + json.dumps(run(what, options.steps, Path(folder), SMALL if options.lora else SHAPE)))
        return
    if options.lora:
        compared("lora", options.steps, small=True)
        return
    results: dict[str, Any] = {
        "steps": options.steps,
        "gpu": gpu(),
        "threads": 1,
        "tiny": compared("tiny", options.steps),
    }
    results["lora"] = compared("lora", options.steps) if gpu() else None
    if not gpu():
        print("\nlora: left out, there is no CUDA GPU here")
        results["note"] = "no GPU: the LoRA on a network of 7B shape was not measured"
    results |= {"load": round(os.getloadavg()[0], 1), "machine": machine()}
    (HERE / "results" / "training.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
