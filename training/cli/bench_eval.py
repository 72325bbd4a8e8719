"""`catp bench eval`: the table and the Pareto picture of any planner, on CATP-Bench or on a file of trajectories."""

import importlib.resources
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from catp.cli.options import JsonOption
from catp.cli.output import EXIT_FAILED, EXIT_USAGE, console_err, emit_json, emit_text, fail, printable, write_atomic
from catp.training.cli.counting import counting

if TYPE_CHECKING:
    from catp.training.cli.bench_names import Contender
    from catp.training.cli.bench_requests import BenchRequests
    from catp.training.data.trajectory import Trajectory
    from catp.training.evaluate import CandidateSet, Evaluation

__all__ = ["ToolsetOption", "evaluate"]

ToolsetOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="F", help="The toolset of --data, for policies; else it is looked for beside the data."),
]
_PROTOCOLS = "split, kfold, inputs, loo, tools, prices, phrasing"
_FREE_ONLY_CHOOSERS = ("prices",)


def evaluate(
    planner: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A baseline, search, policy[:MODEL], policy-free[:MODEL], all (the default), or "
            "package.module:attribute; repeat.",
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="PATH", help="A file or folder of trajectories; CATP-Bench if not given.")
    ] = None,
    toolset: ToolsetOption = None,
    protocol: Annotated[
        str | None,
        typer.Option(metavar="P", help=f"What is held out: {_PROTOCOLS}. split if the data has one, else kfold."),
    ] = None,
    alpha: Annotated[
        list[float] | None,
        typer.Option(min=0, max=1, help="Weight of quality against price; repeat. Eight if not set."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Ask planners that plan freely about N inputs only.")
    ] = None,
    run: Annotated[
        bool,
        typer.Option("--run", help="Really run a planner's plans that were not measured."),
    ] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the Pareto picture (.svg or .png).")] = None,
    out: Annotated[Path | None, typer.Option(metavar="JSON", help="Write all figures to this file.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    seed: Annotated[int, typer.Option(help="Of the folds, the bootstrap and the draw of --limit.")] = 0,
    json_: JsonOption = False,
) -> None:
    """Measure planners: regret over the sweep of alpha, hypervolume, hits, validity, coverage, budgets, time, price."""
    from catp.training.cli.bench_names import contenders, told_as
    from catp.training.cli.bench_policy import policy_files
    from catp.training.cli.bench_requests import BenchRequests
    from catp.training.evaluate.pareto import ALPHAS
    from catp.training.evaluate.report import table, table_json

    if plot is not None:
        _check_plot(plot)
    folder = data if data is not None else _shipped()
    sets = _sets(folder)
    chosen = _protocol(protocol, sets)
    alphas = tuple(sorted(set(alpha))) if alpha else ALPHAS
    found: dict[str, list[Evaluation]] = {}
    warnings: list[str] = []
    for name, part in _by_dataset(sets).items():
        requests = BenchRequests(folder)
        free = chosen not in _FREE_ONLY_CHOOSERS and requests.cover(part)
        named = contenders(planner or [], chosen, with_search=free, files=policy_files(folder, part, toolset))
        warnings += _warned(named, folder, part, chosen, seed, requests)
        with _progress() as progress:
            found[name] = [
                told_as(one, _measured(one, part, chosen, alphas, seed, limit, requests, run, progress))
                for one in named
            ]
    everything = {**table_json([one for rows in found.values() for one in rows]), "warnings": warnings}
    if out is not None:
        write_atomic(out, json.dumps(everything, indent=1) + "\n")
    if plot is not None:
        _draw(plot, found)
    if json_:
        emit_json(everything.pop("schema"), everything)
        return
    for name, rows in found.items():
        first = max(rows, key=lambda one: one.sets)  # --limit asks planners about fewer
        told = f"{first.sets} inputs of {first.groups} tasks, protocol {chosen}, normalised regret (95 % interval)"
        emit_text(f"{printable(name)}: {told}\n\n{table(rows, style='markdown' if markdown else 'text')}\n")


def _warned(
    named: Sequence["Contender"], folder: Path, sets: Sequence["CandidateSet"], protocol: str, seed: int,
    requests: "BenchRequests",
) -> list[str]:  # fmt: skip
    """Say of which policies the protocol holds out nothing, before the minutes that measuring takes."""
    from catp.training.cli.bench_policy import seen_before

    found: list[str] = []
    for one in named:
        if one.manifest is not None:
            with suppress(ValueError):  # the protocol does not suit the data, which measuring says
                tools = requests.held_out_tools()
                found += seen_before(one.name, one.manifest, folder, sets, protocol, seed, tools)
    for text in found:
        console_err().print(f"warning: {printable(text)}", markup=False, soft_wrap=True)
    return found


def _measured(
    one: "Contender", sets: Sequence["CandidateSet"], protocol: str, alphas: Sequence[float], seed: int,
    limit: int | None, requests: "BenchRequests", run: bool, progress: Callable[[str], None],
) -> "Evaluation":  # fmt: skip
    from catp.training.evaluate.harness import evaluate as evaluate_chooser
    from catp.training.evaluate.planning import evaluate_planner

    try:
        if one.chooser is not None:
            return evaluate_chooser(
                one.chooser, sets, alphas=alphas, protocol=protocol, seed=seed, progress=progress,
                tools=requests.held_out_tools(), tables=requests.held_out_prices(),
            )  # fmt: skip
        assert one.planner is not None
        cases = requests.cases(_judged(sets, protocol, seed, limit))
        live = requests.live() if run else None
        return evaluate_planner(
            one.planner, cases, alphas=alphas, protocol=protocol, seed=seed, measure=live, progress=progress
        )
    except ImportError as error:
        fail(str(error), EXIT_FAILED)
    except ValueError as error:
        fail(f"{one.name}: {error}", EXIT_USAGE)
    except (Exception, SystemExit) as error:  # of a chooser that somebody wrote
        fail(f"{one.name}: raised {type(error).__name__}: {error}", EXIT_FAILED, help="the chooser itself is at fault")


def _judged(sets: Sequence["CandidateSet"], protocol: str, seed: int, limit: int | None) -> list["CandidateSet"]:
    """The sets that choosers are judged on, each once; `limit` of them, drawn by the seed."""
    import numpy as np

    from catp.training.evaluate.protocols import folds

    if protocol in _FREE_ONLY_CHOOSERS:
        raise ValueError(
            f"planners that plan freely cannot be judged under protocol {protocol!r}: their tools keep their prices"
        )
    kept = {one.id: one for fold in folds(sets, protocol, seed=seed) for one in fold.test}
    ids = sorted(kept)
    if limit is not None and limit < len(ids):
        ids = sorted(np.random.default_rng([seed, len(ids)]).choice(ids, limit, replace=False).tolist())
    return [kept[id_] for id_ in ids]


def _shipped() -> Path:
    folder = Path(str(importlib.resources.files("catp"))) / "datasets" / "catp-bench" / "measured"
    if not folder.is_dir():
        fail(f"CATP-Bench is not installed here: {folder} is missing", EXIT_FAILED,
             help="run catp bench build, or name trajectories with --data")  # fmt: skip
    return folder


def _sets(path: Path) -> list["CandidateSet"]:
    from catp.training.data.files import read
    from catp.training.evaluate.candidates import candidate_sets

    def counted(records: Iterable["Trajectory"]) -> Iterator["Trajectory"]:
        with counting("read") as progress:
            for number, record in enumerate(records, 1):
                progress(number)
                yield record

    try:
        sets = list(candidate_sets(counted(read(path))))
    except (OSError, ValueError) as error:
        fail(str(error), EXIT_USAGE, help="catp data validate names everything that is wrong with a file")
    if not sets:
        fail(f"{str(path)!r} has no plan with a score and a price", EXIT_USAGE)
    return sets


def _protocol(named: str | None, sets: Sequence["CandidateSet"]) -> str:
    from catp.training.evaluate.protocols import PROTOCOLS

    if named is None:
        return "split" if {"train", "test"} <= {one.split.get("name") for one in sets} else "kfold"
    if named not in PROTOCOLS:
        fail(f"unknown protocol {named!r}", EXIT_USAGE, help=f"one of {', '.join(PROTOCOLS)}")
    return named


def _by_dataset(sets: Sequence["CandidateSet"]) -> dict[str, list["CandidateSet"]]:
    found: dict[str, list[CandidateSet]] = {}
    for one in sets:
        found.setdefault(one.dataset, []).append(one)
    return found


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """One line that is written over on a terminal, a line per planner elsewhere."""
    console = console_err()
    if not console.is_terminal:
        said: set[str] = set()

        def say(text: str) -> None:
            who = text.partition(":")[0]
            if who not in said:
                said.add(who)
                console.print(f"measuring {who}", markup=False)

        yield say
        return
    with console.status("") as status:
        yield lambda text: status.update(text)


def _check_plot(path: Path) -> None:
    """Fail before the work is done, not after."""
    from catp.training.evaluate.pictures import FORMATS

    if path.suffix.removeprefix(".").lower() not in FORMATS:
        fail(f"cannot draw {str(path)!r}", EXIT_USAGE, help=f"end the name in {' or '.join('.' + f for f in FORMATS)}")


def _draw(path: Path, found: dict[str, list["Evaluation"]]) -> None:
    from catp.training.evaluate.pictures import pareto_picture

    try:
        path.write_bytes(pareto_picture(found, path.suffix.removeprefix(".").lower()))
    except ImportError as error:
        fail(str(error), EXIT_FAILED)
    except (OSError, ValueError) as error:
        fail(f"cannot draw {str(path)!r}: {error}", EXIT_FAILED)
