"""`catp sim`: queue policies on traces of real traffic, run by the engine's own scheduler on a model of step times."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catp.cli.options import JsonOption
from catp.cli.output import EXIT_USAGE, console_err, emit_json, emit_text, fail, printable

if TYPE_CHECKING:
    from catp.serving.sim.replay import Replica
    from catp.serving.sim.sweep import Cell, Sweep
    from catp.serving.sim.traces import Trace

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_SYNTHETIC = {"synthetic": 1.0, "bursty": 5.0}
"""Made-up traces, and how much faster requests come in their busy phases."""


@app.command()
def sim(
    trace: Annotated[
        str,
        typer.Argument(help="A folder of Azure CSV files, one such file, a Mooncake .jsonl file, synthetic or bursty."),
    ],
    policy: Annotated[
        str, typer.Option(metavar="A,B,...", help="Queue policies; suffixes +demote, +shed, +age, +fair.")
    ] = "fcfs,spf,edf,moore-hodgson",
    load: Annotated[str, typer.Option(metavar="X,Y,...", help="Arrivals as shares of the capacity.")] = "0.5,0.7,0.9",
    error: Annotated[
        str, typer.Option(metavar="X,Y,...", help="Mean relative errors of the predicted lengths.")
    ] = "0,0.4",
    predictor: Annotated[
        str, typer.Option(metavar="P", help="true, or broken: shuffled, inverted, constant, low (a quarter).")
    ] = "true",
    seeds: Annotated[int, typer.Option(min=1, help="Draws of classes and predictions; figures are their means.")] = 1,
    requests: Annotated[int, typer.Option(min=2, help="Of the trace's first requests, so many.")] = 8000,
    budget: Annotated[
        str, typer.Option(metavar="TOKENS", help="Of a step; auto: the engine's own controller sets it.")
    ] = "512",
    max_sequences: Annotated[int, typer.Option(min=1, help="That run at once.")] = 128,
    profile: Annotated[
        str, typer.Option(metavar="NAME|JSON", help="Hardware, or a file with the coefficients of a fitted cost model.")
    ] = "a100-llama2-7b",
    kv_tokens: Annotated[
        int | None, typer.Option(min=1, help="Memory for keys, in tokens; the profile's if not set.")
    ] = None,
    capacity: Annotated[
        float | None,
        typer.Option(
            metavar="REQ/S", help="What load 1 is; measured if not set: what is served while some always wait."
        ),
    ] = None,
    shed: Annotated[bool, typer.Option("--shed", help="End requests that cannot be in time any more.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    json_: JsonOption = False,
) -> None:
    """Try queue policies on a trace: SLO attainment, goodput, p99 and who gets it, by load and prediction error."""
    from catp.serving.sim.sweep import Sweep, grid, saturated
    from catp.serving.sim.table import rows, table
    from catp.serving.sim.workload import PREDICTORS

    if predictor not in PREDICTORS:
        fail(f"no predictor {predictor!r}", EXIT_USAGE, help=f"known are {', '.join(PREDICTORS)}")
    policies = _policies(policy)
    loads, errors = _numbers("--load", load, above=0), _numbers("--error", error)
    requested = _trace(trace, requests)
    replica = _replica(profile, max_sequences, kv_tokens)
    cells = grid(policies, loads, errors, seeds, predictor=predictor, budget=_budget(budget), shed=shed)
    console = console_err()
    if capacity is None:
        console.print("measuring the capacity: first come first served, some always wait")
        capacity = saturated(requested, replica)
    sweep = Sweep(requested, replica, capacity)
    found = rows(_run(sweep, cells, jobs))
    if json_:
        head = {"trace": requested.name, "requests": len(requested.arrivals), "profile": profile, "capacity": capacity}
        emit_json("catp.serving.sim/1", {**head, "rows": found})
        return
    told = f"{len(requested.arrivals)} requests of {printable(requested.name)} on {printable(profile)}"
    emit_text(f"{told}; load 1 is {capacity:.2f} requests/s; {seeds} seed(s); errors {error}\n\n{table(found)}")


def _run(sweep: "Sweep", cells: "list[Cell]", jobs: int) -> dict[Any, Any]:
    """Simulate with progress on stderr: a bar on a terminal, a line per cell elsewhere."""
    from rich.progress import Progress

    console = console_err()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("simulating", total=len(cells))

        def done(cell: "Cell", report: Any) -> None:
            bar.advance(task)
            told = f"{cell.policy}, load {cell.load:g}, error {cell.error:g}, seed {cell.seed}"
            console.print(f"{told}: {100 * report.attainment:.1f} %", markup=False)

        return sweep.run_all(cells, jobs, done)


def _policies(text: str) -> list[str]:
    from catp.serving.policies.registry import policy

    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        try:
            policy(name)
        except KeyError as error:
            fail(str(error.args[0]), EXIT_USAGE)
    if not names:
        fail("--policy names no policy", EXIT_USAGE, help="for example --policy fcfs,moore-hodgson")
    return names


def _numbers(option: str, text: str, above: float | None = None) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or any(not 0 <= one < 100 or one == above for one in found):
        fail(f"{option} {text!r} is not a list of shares", EXIT_USAGE, help="for example 0.5,0.7,0.9")
    return found


def _budget(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or not int(text):
        fail(f"--budget {text!r} is neither auto nor a number of tokens", EXIT_USAGE)
    return int(text)


def _trace(name: str, requests: int) -> "Trace":
    from catp.serving.sim.synthetic import plans
    from catp.serving.sim.traces import TraceError, read_trace

    if name in _SYNTHETIC:
        return plans(0, requests, burst=_SYNTHETIC[name])
    try:
        found = read_trace(Path(name)).first(requests)
        found.at_rate(1.0)  # there is a rate, or that is said before the long work
        return found
    except (TraceError, OSError) as error:
        fail(str(error), EXIT_USAGE)


def _replica(profile: str, max_sequences: int, kv_tokens: int | None) -> "Replica":
    from catp.serving.sim.profiles import ProfileError, load_profile
    from catp.serving.sim.replay import Replica

    try:
        times, costs, memory = load_profile(profile)
    except ProfileError as error:
        fail(str(error), EXIT_USAGE)
    return Replica(times, costs, kv_tokens or memory, sequences=max_sequences)
