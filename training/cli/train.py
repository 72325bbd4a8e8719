"""`catp train`: train a policy from logged plans, or say what that would take."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from catp.cli.options import JsonOption
from catp.cli.output import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    emit_json,
    emit_text,
    fail,
    milliseconds,
    printable,
    set_quiet,
)

if TYPE_CHECKING:
    from catp.training.caorl.config import TrainConfig
    from catp.training.caorl.events import TrainResult
    from catp.training.caorl.run import Ready
    from catp.training.caorl.trial import Trial
    from catp.training.cli.train_progress import TrainProgress

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_NEEDS = "pip install 'catp[train]'"


@app.command()
def train(
    config: Annotated[Path, typer.Option(metavar="FILE", help="A .toml file; see examples/train.", show_default=False)],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key: optim.lr=3e-4; repeat.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The run's folder; runs/NAME if not given.")] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="auto|DIR", help="Go on: auto from the last state in --out, if there is one."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Load all, take two small steps, say what the run would take.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="As --set seed=N.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
    json_: JsonOption = False,
) -> None:
    """Train a policy. Ctrl-C saves and stops; --resume auto goes on, to the same weights as without the break.

    The folder gets config.toml, metrics.jsonl, curves.png, and the checkpoints best and last with their model cards.
    """
    from catp.training.caorl.settings import SettingsError, load_config
    from catp.training.cli.train_progress import TrainProgress

    if quiet:
        set_quiet(True)
    try:
        found = load_config(config, [*(set_ or []), *([] if seed is None else [f"seed={seed}"])])
    except SettingsError as error:
        fail(str(error), EXIT_USAGE)
    folder = out if out is not None else Path("runs") / found.name
    with _told(), TrainProgress() as progress:
        if dry_run:
            _print_trial(_dry(found, progress), json_)
            return
        result = _train(found, folder, resume, progress)
    _print_result(found, folder, result, json_)
    if result.reason == "interrupted":
        raise typer.Exit(EXIT_INTERRUPTED)


def _train(config: "TrainConfig", out: Path, resume: str | None, progress: "TrainProgress") -> "TrainResult":
    from catp.training.caorl.run import run_training

    command = shlex.join(["catp", *sys.argv[1:]])
    from_: Path | Literal["auto"] | None = "auto" if resume == "auto" else None if resume is None else Path(resume)
    ready = _ready(config, progress)
    return run_training(
        ready, config, out, resume=from_, on_event=progress.on_event, warn=progress.say, command=command
    )


def _dry(config: "TrainConfig", progress: "TrainProgress") -> "Trial":
    from catp.training.caorl.trial import small, try_out

    return try_out(_ready(small(config), progress), config, progress.on_event)


def _ready(config: "TrainConfig", progress: "TrainProgress") -> "Ready":
    from catp.training.caorl.algorithm import prepare
    from catp.training.caorl.trackers import check_trackers

    _check_device(config.device)
    check_trackers(config.track)
    progress.say(f"reading {', '.join(config.data.paths)}")
    return prepare(config, progress.doing)


def _check_device(device: str) -> None:
    """Say at once, and not after minutes of reading, that there is no GPU."""
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        fail(f"device {device!r}: torch {torch.__version__} sees no GPU", EXIT_FAILED,
             help="--set device=cpu, or install torch with CUDA")  # fmt: skip


@contextmanager
def _told() -> Iterator[None]:
    """Turn what stops a run into messages."""
    from catp.training.caorl.errors import TrainError

    try:
        yield
    except TrainError as error:
        fail(str(error), EXIT_FAILED)
    except ImportError as error:
        fail(str(error), EXIT_FAILED, help=None if "pip install" in str(error) else _NEEDS)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), EXIT_FAILED)
    except ValueError as error:  # of data, of a base, of sizes that do not go together
        fail(str(error), EXIT_USAGE)


def _print_result(config: "TrainConfig", out: Path, result: "TrainResult", json_: bool) -> None:
    if json_:
        emit_json("catp.train/1", {
            "name": config.name, "out": out, "steps": config.optim.steps, "step": result.step,
            "reason": result.reason, "figures": result.figures, "best_step": result.best_step,
            "best_figures": result.best_figures,
        })  # fmt: skip
        return
    best = "" if result.best_step is None else f"best regret {result.best_figures['regret']:.4f} after step "
    lines = [f"{result.reason} after step {result.step:,} of {config.optim.steps:,}"]
    lines += [f"{best}{result.best_step:,}: {out / 'best'}"] if best else []
    lines += [f"state: {out / 'last'}", f"go on: catp train ... --out {out} --resume auto"]
    emit_text(printable("\n".join(lines if result.reason == "interrupted" else lines[:-2] or lines)))


def _print_trial(trial: "Trial", json_: bool) -> None:
    from dataclasses import asdict

    from catp.cli.report import columns

    if json_:
        emit_json("catp.train.dry-run/1", asdict(trial))
        return
    rows = [
        ("device", trial.device),
        ("parameters", f"{trial.parameters:,}, {trial.trainable:,} of them trained"),
        ("inputs", f"{trial.examples:,}"),
        ("steps", f"{trial.steps:,}, {trial.epochs:.2f} epochs"),
        ("speed", f"{trial.tokens_per_s:,.0f} tokens/s, a step in {milliseconds(trial.step_s * 1000)}"),
        ("one evaluation", f"about {milliseconds(trial.evaluation_s * 1000)}"),
        ("whole run", f"about {milliseconds(trial.seconds * 1000)}"),
        ("peak memory", f"{trial.memory / 2**20:,.0f} MiB"),
        ("checkpoint", f"{trial.checkpoint / 2**20:,.1f} MiB"),
        ("loss, regret", f"{trial.loss:.4f}, {trial.regret:.4f} (after two steps, on a few inputs)"),
    ]
    emit_text("\n".join(columns(rows)))
