"""`catp critic`: train an offline critic, and judge on logged choices whether a policy may take over."""

import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catp.cli.options import JsonOption
from catp.cli.output import EXIT_FAILED, EXIT_USAGE, console_err, emit_json, emit_text, fail

if TYPE_CHECKING:
    from catp.training.critic.config import CriticConfig
    from catp.training.critic.gate import PlanPolicy, Verdict
    from catp.training.evaluate import CandidateSet

__all__ = ["critic_app"]

critic_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Train critics of plans, and judge policies on logged choices."
)
DataOption = Annotated[
    Path | None,
    typer.Option(metavar="PATH", help="Measured plans, a file or folder; CATP-Bench if not given."),
]


@critic_app.command()
def train(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The folder of the run.")],
    data: DataOption = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the config: algorithm=bcq; repeat.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the folder, if there is one.")
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Train a critic on measured plans of training tasks; the folder gets critic.json and safetensors files."""
    from catp.training.critic.checkpoint import CheckpointError
    from catp.training.critic.learn import NotANumber, train_critic

    config = _config(set_ or [])
    sets = [one for one in _sets(data, "measured") if one.split.get("name") != "test"]
    with _progress() as progress:
        try:
            found = train_critic(config, sets, out, resume=resume, progress=progress)
        except CheckpointError as error:
            fail(str(error), EXIT_USAGE)
        except (ImportError, NotANumber, OSError) as error:
            fail(str(error), EXIT_FAILED)
        except ValueError as error:
            fail(str(error), EXIT_USAGE, help="catp data stats FILE counts tasks, inputs and plans")
    if json_:
        emit_json("catp.critic.train/1", {
            "out": str(out), "config": config.model_dump(mode="json"), "best_step": found.best_step,
            "regret": found.regret, "left_out": dict(found.coder.left_out),
        })  # fmt: skip
    else:
        emit_text(f"{out}: {config.algorithm}, regret {found.regret:.3f} on held-out tasks at step {found.best_step}")


@critic_app.command()
def forest(
    model: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a policy; it is changed.")],
    json_: JsonOption = False,
) -> None:
    """Give a trained policy the forest that corrects its ratings, from the data it was trained on.

    `catp train` does this at its end; policies of before can be completed, and a forest can be grown anew.
    """
    from catp.training.caorl.algorithm import prepare
    from catp.training.cli.model_errors import model_errors
    from catp.training.policy.card import write_card
    from catp.training.policy.manifest import read_manifest

    with model_errors(), _progress() as progress:
        before = read_manifest(model)
        ready = prepare(before.config, progress, policy=model)
        changed = sorted(name for name, digest in ready.data.items() if before.data.get(name) != digest)
        if changed:
            fail(f"{model} was not trained on the data that is here: {', '.join(changed)} differ", EXIT_USAGE)
        assert ready.finish is not None
        found = ready.finish(model)
        write_card(model, found, _run_events(model))
    if json_:
        emit_json("catp.critic.forest/1", {"model": str(model), "trust": found.trust, "forest": found.forest,
                                           "figures": dict(found.figures)})  # fmt: skip
        return
    regret, alone = found.figures.get("mixed_regret"), found.figures.get("regret")
    told = "no forest" if regret is None or alone is None else f"regret {alone:.4f} without a forest, {regret:.4f} with"
    emit_text(f"{model}: {told}; trust {found.trust:g}, forest {found.forest:g}")


@critic_app.command()
def gate(
    candidate: Annotated[
        str, typer.Argument(metavar="POLICY", help="A name of catp bench eval, or a critic's folder.")
    ],
    current: Annotated[
        str | None, typer.Option(metavar="POLICY", help="The policy in use; that of the log if not given.")
    ] = None,
    alpha: Annotated[float, typer.Option(min=0, max=1, help="Weight of quality against price.")] = 0.8,
    data: DataOption = None,
    log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Logged choices with propensities; CATP-Bench's of test tasks.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the halves and the fits.")] = 0,
    json_: JsonOption = False,
) -> None:
    """Say whether a policy may take over: exit code 0 if so, 1 if it stays in shadow. Nothing is switched."""
    from catp.training.critic.gate import logged_choices, promote
    from catp.training.data.files import read

    sets = _sets(data, "measured")
    train = [one for one in sets if one.split.get("name") != "test"]
    with _progress() as progress:
        try:
            rows = logged_choices(sets, read(log if log is not None else _shipped("logged") / "test.jsonl.gz"), alpha)
            progress(f"candidate {candidate}: learning from {len(train)} inputs")
            mine = _policy(candidate, train, alpha)
            progress(f"current {current or 'policy of the log'}")
            theirs = None if current is None else _policy(current, train, alpha)
            progress(f"estimating on {len(rows)} logged choices")
            verdict = promote(mine, theirs, rows, seed=seed)
        except ImportError as error:
            fail(str(error), EXIT_FAILED)
        except (OSError, ValueError) as error:
            fail(str(error), EXIT_USAGE)
    _print(verdict, json_)
    if not verdict.promote:
        raise typer.Exit(EXIT_FAILED)


def _print(verdict: "Verdict", json_: bool) -> None:
    if json_:
        emit_json("catp.critic.gate/1", verdict.to_json())
        return
    what = "promote: the candidate may take over" if verdict.promote else "shadow only: the candidate may not take over"
    emit_text("\n".join([what, *(f"  {reason}" for reason in verdict.reasons)]))


def _run_events(folder: Path) -> list[dict[str, Any]]:
    """What the run told, if the policy still lies in its run's folder."""
    from catp.training.caorl.metrics import read_metrics
    from catp.training.caorl.run import METRICS

    path = folder.resolve().parent / METRICS
    return read_metrics(path) if path.is_file() else []


def _policy(name: str, train: Sequence["CandidateSet"], alpha: float) -> "PlanPolicy":
    """A chooser that learned from `train`, or a trained critic, at an alpha."""
    if (Path(name) / "critic.json").is_file():
        from catp.training.baselines.prices import StepPrices
        from catp.training.critic.critic import Critic

        critic, prices = Critic.load(Path(name)), StepPrices().fit(train)
        return lambda one: critic.weights(critic.tree(one), alpha, prices.price(one) / one.price_scale)
    from catp.training.cli.bench_names import contenders

    (found,) = contenders([name], "split", with_search=False)
    if found.chooser is None:
        fail(f"{name!r} plans freely: a gate needs a policy that chooses among the logged plans", EXIT_USAGE)
    chooser = found.chooser()
    if getattr(chooser, "sees_outcomes", False):
        fail(f"{name!r} sees the outcomes: it cannot be judged by them", EXIT_USAGE)
    chooser.fit(train)
    return lambda one: chooser.choose(one, alpha)


def _config(sets: Sequence[str]) -> "CriticConfig":
    from pydantic import ValidationError

    from catp.training.critic.config import CriticConfig

    values: dict[str, Any] = {}
    for text in sets:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            fail(f"--set {text!r}: write key=value, such as algorithm=bcq", EXIT_USAGE)
        if key not in CriticConfig.model_fields:
            close = get_close_matches(key, CriticConfig.model_fields, 1)
            fail(f"--set {text}: unknown key {key!r}", EXIT_USAGE, help=f"did you mean {close[0]}?" if close else None)
        values[key] = _value(value)
    try:
        return CriticConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "config"
        fail(f"--set {where}: {first['msg']}", EXIT_USAGE, help=f"found {first['input']!r}")


def _value(text: str) -> Any:
    """A value as TOML has it; a bare word is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _shipped(part: str) -> Path:
    import importlib.resources

    folder = Path(str(importlib.resources.files("catp"))) / "datasets" / "catp-bench" / part
    if not folder.is_dir():
        fail(f"CATP-Bench is not installed here: {folder} is missing", EXIT_FAILED,
             help="run catp bench build, or name trajectories with --data")  # fmt: skip
    return folder


def _sets(path: Path | None, part: str) -> list["CandidateSet"]:
    from catp.training.data.files import read
    from catp.training.evaluate.candidates import candidate_sets

    try:
        return list(candidate_sets(read(path if path is not None else _shipped(part))))
    except (OSError, ValueError) as error:
        fail(str(error), EXIT_USAGE, help="catp data validate names everything that is wrong with a file")


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """One line that is written over on a terminal, a line each elsewhere."""
    console = console_err()
    if not console.is_terminal:
        yield lambda text: console.print(text, markup=False)
        return
    with console.status("") as status:
        yield lambda text: status.update(text)
