"""Folders as `catp train` leaves them, written by hand."""

import json
import math
from pathlib import Path
from typing import Any

CONFIG = """name = "tiny"
[data]
paths = ["catp-bench"]
[method]
name = "awr"
[model]
hidden = 256
layers = 4
[optim]
lr = 0.001
steps = 100
"""


def started(steps: int = 100) -> dict[str, Any]:
    return {
        "event": "started", "step": 0, "steps": steps, "device": "cpu", "processes": 1, "examples": 1218,
        "parameters": 4_828_160, "trainable": 4_828_160,
    }  # fmt: skip


def step(number: int, loss: float | None, steps: int = 100) -> dict[str, Any]:
    return {
        "event": "step", "step": number, "steps": steps, "epoch": 0, "loss": loss, "parts": {"policy": loss},
        "lr": 0.001, "grad_norm": 2.0, "tokens": 400, "tokens_per_s": 1500.5, "seconds": 0.2, "memory": 10**9,
    }  # fmt: skip


def evaluated(number: int, regret: float, *, best: bool = False, **more: float) -> dict[str, Any]:
    figures = {"regret": regret, "regret@0.5": regret / 2, "regret@0.9": 1.5 * regret, "quality_error": 0.2, **more}
    return {"event": "evaluated", "step": number, "figures": figures, "best": best, "seconds": 3.0}


STOPPED = {"event": "stopped", "step": 100, "reason": "finished"}


def write_run(folder: Path, events: list[Any], *, config: str | None = CONFIG, tail: str = "") -> Path:
    """Write a run; an event that is a text stands as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [one if isinstance(one, str) else json.dumps(one) for one in events]
    (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines) + tail)
    if config is not None:
        (folder / "config.toml").write_text(config)
    return folder


def write_checkpoint(folder: Path, number: int, regret: float) -> None:
    folder.mkdir(parents=True)
    manifest = {
        "schema": "catp.policy/1", "name": "tiny", "step": number, "license": "Apache-2.0", "seed": 0,
        "figures": {"regret": regret}, "config": {"data": {"paths": ["catp-bench"]}}, "split": {"inputs": ["train"]},
        "data": {"catp-bench/measured/val.jsonl.gz": "0" * 64, "../../../etc/passwd": "1" * 64, "own.jsonl": "2" * 64},
    }  # fmt: skip
    (folder / "catp.json").write_text(json.dumps(manifest))
    (folder / "model.safetensors").write_bytes(b"x" * 1000)


def finished_run(folder: Path) -> Path:
    events = [started(), *(step(n, 4 - 3 * math.log1p(n) / math.log(101)) for n in range(1, 101))]
    events += [evaluated(25, 0.3, best=True), evaluated(50, 0.2, best=True), evaluated(100, 0.25), STOPPED]
    write_run(folder, events)
    write_checkpoint(folder / "best", 50, 0.2)
    write_checkpoint(folder / "last", 100, 0.25)
    return folder
