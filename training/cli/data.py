"""`catp data`: check, show, count, split and convert files of trajectories; export runs from the store."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from catp.cli.config import settings_or_fail
from catp.cli.options import JsonOption
from catp.cli.output import EXIT_FAILED, EXIT_UNREACHABLE, EXIT_USAGE, console_err, emit_json, emit_text, fail
from catp.training.cli.counting import counting
from catp.training.cli.data_card import card
from catp.training.cli.data_tokens import show_tokens

if TYPE_CHECKING:
    from catp.training.data.trajectory import Trajectory

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Check, show, split and convert files of trajectories."
)
FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="A .jsonl, .jsonl.gz or .parquet file, or a folder.")
]
OutOption = Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="The file to write.")]
T = TypeVar("T")


@app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files or folders, checked as one data set.")],
    toolset: Annotated[
        Path | None, typer.Option(metavar="F", help="The toolset file; else it is looked for beside the data.")
    ] = None,
    max_: Annotated[int, typer.Option("--max", min=0, help="List at most so many findings; all are counted.")] = 50,
    json_: JsonOption = False,
) -> None:
    """Find everything that is wrong: line, field, what was found, why, how to mend it. Exit code 1 if anything is."""
    from catp.training.data.validate import validate as check

    with counting("checked") as progress:
        try:
            report = check(files, toolset, limit=max_, progress=progress)
        except (OSError, ValueError) as error:
            fail(str(error), EXIT_USAGE, help="name a toolset file (catp.toolset/1) with --toolset")
    if json_:
        emit_json("catp.data.validate/1", report.to_json())
    else:
        lines = [str(finding) for finding in report.findings]
        by_rule = ", ".join(f"{n:,} {rule}" for rule, n in report.counts.most_common())
        lines += [f"… and {report.total - len(lines):,} more"] if report.total > len(lines) else []
        lines.append(
            f"{_number(report.records, 'record')} in {_number(report.files, 'file')}: {by_rule or 'nothing wrong'}"
        )
        emit_text("\n".join(lines))
        for note in report.notes:
            console_err().print(f"note: {note}", markup=False)
    if not report.ok:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def show(
    file: FileArgument,
    id: Annotated[
        str | None, typer.Argument(metavar="ID", help="A trajectory_id; the first record if not given.")
    ] = None,
    line: Annotated[int | None, typer.Option(min=1, help="The record on this line (of Parquet: this row).")] = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Show what the policy reads and learns of it, token by token.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(metavar="NAME|DIR", help="With --tokens: whose tokens; the shipped policy's if unset.")
    ] = None,
    alpha: Annotated[float, typer.Option(min=0, max=1, help="With --tokens: weight of quality.")] = 0.8,
    json_: JsonOption = False,
) -> None:
    """Show one record: the request, the plan, every call with its price, and the outcome."""
    from catp.training.data.show import record_text

    if id is not None and line is not None:
        fail("both an ID and --line", EXIT_USAGE, help="give one of them")
    record = _one(file, id, line)
    if tokens:
        show_tokens(file, record, model, alpha, json_=json_)
    elif json_:
        data = record.model_dump(mode="json", by_alias=True, exclude_none=True)
        emit_json(data.pop("schema"), data)
    else:
        emit_text(record_text(record))


@app.command()
def stats(file: FileArgument, json_: JsonOption = False) -> None:
    """Count tasks, inputs and plans; tools, shapes, prices, times, scores; how often the cheapest plan is the best."""
    from catp.training.data.show import stats_text
    from catp.training.data.stats import data_stats

    with _counted(file) as records:
        found = data_stats(records)
    if json_:
        emit_json("catp.data.stats/1", found.to_json())
    else:
        emit_text(stats_text(found))


@app.command()
def split(
    file: FileArgument,
    output: OutOption,
    by: Annotated[
        str, typer.Option(metavar="group|input", help="What is kept on one side: tasks or inputs.")
    ] = "group",
    val: Annotated[float, typer.Option(min=0, max=1, help="Share for validation.")] = 0.1,
    test: Annotated[float, typer.Option(min=0, max=1, help="Share for the test.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Another seed makes another split.")] = 0,
    json_: JsonOption = False,
) -> None:
    """Draw the sides of a split by name, the same in every file. Nothing else of a record is changed."""
    from collections import Counter

    from catp.training.data.files import write
    from catp.training.data.split import SplitBy, assign

    unit: SplitBy | None = "group" if by == "group" else "input" if by == "input" else None
    if unit is None:
        fail(f"--by {by!r}: write group or input", EXIT_USAGE)
    if val + test >= 1:
        fail(f"--val {val:g} and --test {test:g} leave nothing to train on", EXIT_USAGE)
    sides: Counter[str] = Counter()

    def seen(records: "Iterable[Trajectory]") -> "Iterator[Trajectory]":
        for record in records:
            assert record.split is not None
            sides[(record.split.name if unit == "group" else record.split.inputs) or ""] += 1
            yield record

    with _counted(file) as records:
        done = write(output, seen(assign(records, unit, val=val, test=test, seed=seed)))
    if json_:
        emit_json(
            "catp.data.split/1", {"output": output, "records": done, "by": by, "sides": dict(sorted(sides.items()))}
        )
    else:
        told = ", ".join(f"{n:,} {side}" for side, n in sorted(sides.items()))
        emit_text(f"{output}: {_number(done, 'record')} by {by}: {told or 'none'}")


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="What to read.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="What to write.")],
    from_: Annotated[
        str | None, typer.Option("--from", metavar="FORMAT", help="opencatp, taskbench or nestful.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="FORMAT", help="d3rlpy or minari.")] = None,
    toolset: Annotated[
        Path | None,
        typer.Option(metavar="F", help="The toolset, for d3rlpy and minari; else it is looked for beside OUT."),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Write the same records in another format; formats are told by suffix, or by --from and --to."""
    from catp.training.data.convert import GOLD, reader, writer
    from catp.training.data.toolset import Toolset

    if from_ in GOLD and (to is not None or not target.name.endswith((".jsonl", ".jsonl.gz"))):
        fail(f"{from_} holds plans that nobody ran: there is no {to or target.suffix} of them", EXIT_USAGE,
             help="write them to a .jsonl file")  # fmt: skip
    done = 0

    def seen(records: Iterable[T]) -> Iterator[T]:
        nonlocal done
        for record in records:
            done += 1
            progress(done)
            yield record

    with _readable(None), counting("converted") as progress:
        try:
            tools = None if toolset is None else Toolset.load(toolset)
            read, write = reader(source, from_), writer(target, to, toolset=tools)
        except (OSError, ValueError) as error:
            fail(str(error), EXIT_USAGE, help="name a format with --from or --to, a toolset file with --toolset")
        write(target, seen(read(source)))
    _written("catp.data.convert/1", target, done, json_)


@app.command()
def export(
    output: OutOption,
    from_store: Annotated[
        str | None, typer.Option(metavar="FILE|URL", help="The store of saved runs; else that of the settings.")
    ] = None,
    toolset: Annotated[
        Path | None, typer.Option(metavar="F", help="The toolset the runs used (catp.toolset/1).")
    ] = None,
    project: Annotated[str | None, typer.Option(help="Only runs of this project.")] = None,
    price_scale: Annotated[
        str | None, typer.Option(metavar="USD", help="The price that weighs as much as score 1 at alpha 0.5.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Write the runs of the store as trajectories."""
    from catp.planlang.money import format_usd, parse_usd
    from catp.store.errors import StoreError
    from catp.training.data.from_store import export as write
    from catp.training.data.toolset import Toolset

    store = settings_or_fail(store=from_store).store
    if isinstance(store, Path) and not store.exists():
        fail(
            f"there is no run store {store}", EXIT_UNREACHABLE, help="name one with --from-store; `catp run` makes one"
        )
    try:
        tools = None if toolset is None else Toolset.load(toolset)
        scale = None if price_scale is None else Decimal(format_usd(parse_usd(price_scale)))
    except (OSError, ValueError) as error:
        fail(str(error), EXIT_USAGE)
    with _readable(output):
        try:
            done = write(store, output, toolset=tools, price_scale=scale, project=project)
        except StoreError as error:
            fail(str(error), EXIT_UNREACHABLE, help="name another store with --from-store")
    _written("catp.data.export/1", output, done, json_)


app.command()(card)


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _written(schema: str, path: Path, records: int, json_: bool) -> None:
    if json_:
        emit_json(schema, {"output": path, "records": records})
    else:
        emit_text(f"{path}: {_number(records, 'record')}")


def _one(file: Path, id: str | None, line: int | None) -> "Trajectory":
    from catp.training.data.files import read

    with _readable(file):
        if id is not None:
            found = next((record for record in read(file) if record.trajectory_id == id), None)
        else:
            found = next(islice(read(file), (line or 1) - 1, None), None)
    if found is None:
        wanted = f"no record {id!r}" if id is not None else f"no record {line or 1}"
        fail(f"{file}: {wanted}", EXIT_FAILED, help="`catp data stats` says how many there are")
    return found


@contextmanager
def _counted(file: Path) -> "Iterator[Iterator[Trajectory]]":
    """The records of a file, counted on stderr; a file that cannot be read or written ends the command."""
    from catp.training.data.files import read

    def seen() -> "Iterator[Trajectory]":
        for number, record in enumerate(read(file), start=1):
            progress(number)
            yield record

    with _readable(file), counting("read") as progress:
        yield seen()


@contextmanager
def _readable(path: Path | None) -> Iterator[None]:
    """Turn errors of data and files into messages; `path` stands before those that name no file."""
    from catp.training.data.problems import DataError

    place = "" if path is None else f"{path}: "
    try:
        yield
    except DataError as error:
        if error.line is None and error.problem.rule == "file":
            fail(str(error), EXIT_USAGE)
        fail(str(error), EXIT_FAILED, help=f"`catp data validate {error.path}` finds all faults")
    except ImportError as error:
        fail(str(error), EXIT_FAILED, help=None if "pip install" in str(error) else "pip install 'catp[train]'")
    except OSError as error:
        folder = Path(error.filename or ".").parent  # of a hidden file, whose name says nothing to anybody
        if isinstance(error, FileNotFoundError) and not folder.exists():
            fail(f"there is no folder {folder}", EXIT_FAILED, help=f"mkdir -p {folder}")
        fail(
            f"{error.filename}: {error.strerror}" if error.filename else f"{place}{error.strerror or error}",
            EXIT_FAILED,
        )
    except ValueError as error:
        fail(f"{place}{error}", EXIT_FAILED)
