"""`catp db`: look after the run store: migrate, rebuild, check, prune, back up."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catp.cli.config import settings_or_fail
from catp.cli.deeds import note_done
from catp.cli.options import JsonOption
from catp.cli.output import (
    EXIT_FAILED,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    console_err,
    dollars,
    emit_json,
    emit_text,
    fail,
)

if TYPE_CHECKING:
    from catp.store.store import RunStore

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look after the store of saved runs.")

StoreOption = Annotated[str | None, typer.Option("--store", metavar="FILE|URL", help="The store of saved runs.")]

_AGE = re.compile(r"(\d+)\s*(d|w|m|y)")
_DAYS = {"d": 1, "w": 7, "m": 30, "y": 365}


@app.command()
def stats(store: StoreOption = None, json_: JsonOption = False) -> None:
    """Show how much the store holds."""
    from catp.store.stats import store_stats

    with _opened(store) as runs:
        found = runs.database.read(store_stats)
    if json_:
        emit_json("catp.db.stats/1", {
            "store": runs.database.name, "rows": found.rows, "runs": found.runs, "spent_usd": dollars(found.spent)[1:],
            "unpriced_rows": found.unpriced, "files": found.files, "file_bytes": found.file_bytes,
            "first": _iso(found.first_ns), "last": _iso(found.last_ns),
        })  # fmt: skip
        return
    lines = [f"store    {runs.database.name}"]
    by_status = ", ".join(f"{n:,} {status}" for status, n in sorted(found.runs.items())) or "none"
    lines += [f"runs     {by_status}", f"spent    {dollars(found.spent)}, {found.unpriced:,} rows without a price"]
    lines += [f"files    {found.files:,}, {found.file_bytes / 1e6:,.1f} MB"]
    lines += [f"{name:<16} {n:>12,} rows" for name, n in sorted(found.rows.items(), key=lambda pair: -pair[1])]
    emit_text("\n".join(lines))


@app.command()
def upgrade(store: StoreOption = None, json_: JsonOption = False) -> None:
    """Bring the store to the version this catp writes. Any command does this by itself; here it is said."""
    from catp.store.versions import current_version

    with _opened(store) as runs:
        version = runs.database.read(current_version)
    if json_:
        emit_json("catp.db.upgrade/1", {"store": runs.database.name, "version": version})
    else:
        emit_text(f"{runs.database.name} is at version {version}")


@app.command()
def rebuild(store: StoreOption = None, json_: JsonOption = False) -> None:
    """Make every list, sum and roll-up anew from the events. Nothing else is changed."""
    from catp.store.rebuild import rebuild as again

    with _opened(store) as runs, _progress("rebuilding") as progress:
        done = runs.database.write(lambda connection: again(connection, progress))
    if json_:
        emit_json("catp.db.rebuild/1", {"store": runs.database.name, "events": done})
    else:
        emit_text(f"rebuilt from {done:,} events")


@app.command()
def check(store: StoreOption = None, json_: JsonOption = False) -> None:
    """Check that every figure is the sum of its ledger rows and that every file is whole. Exit code 1 if not."""
    from catp.store.audit import audit

    with _opened(store) as runs:
        wrong = runs.database.read(audit)
        damaged = _damaged(runs)
    if json_:
        emit_json("catp.db.check/1", {
            "store": runs.database.name, "ok": not wrong and not damaged,
            "discrepancies": [row._asdict() for row in wrong], "damaged_files": damaged,
        })  # fmt: skip
    elif not wrong and not damaged:
        emit_text("every figure is the sum of its ledger rows; every file is whole")
    else:
        emit_text("\n".join([*map(str, wrong), *(f"file {digest} is missing or damaged" for digest in damaged)]))
    if wrong or damaged:
        if not json_:
            console_err().print("`catp db rebuild` makes the figures anew from the events", markup=False)
        raise typer.Exit(EXIT_FAILED)


@app.command()
def prune(
    older_than: Annotated[str, typer.Option(metavar="90d", help="Age of runs to remove: 30d, 8w, 6m, 1y.")],
    store: StoreOption = None,
    project: Annotated[str | None, typer.Option(help="Only runs of this project.")] = None,
    keep: Annotated[int, typer.Option(min=0, help="Spare the newest so many runs, whatever their age.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many runs would go.")] = False,
    json_: JsonOption = False,
) -> None:
    """Remove old runs that have ended, with their events, values and files; sums and budgets keep counting them."""
    from catp.store.pruning import Removed, old_runs, remove_runs

    before_ns = time.time_ns() - round(_age(older_than).total_seconds() * 1e9)
    with _opened(store) as runs, _progress("pruning") as progress:
        ids = old_runs(runs, before_ns=before_ns, project=project, keep=keep)
        found = Removed(len(ids)) if dry_run else remove_runs(runs, ids, progress)
        if not dry_run:
            about = {"project": project, "keep": keep, **found._asdict()}
            note_done(runs.database, "prune", f"runs older than {older_than}", **about)
    if json_:
        emit_json("catp.db.prune/1", {"store": runs.database.name, "dry_run": dry_run, **found._asdict()})
    elif dry_run:
        emit_text(f"{len(ids):,} runs would be removed")
    else:
        emit_text(f"removed {found.runs:,} runs, {found.events:,} events, {found.files:,} files")


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the copy; may hold an earlier one.")],
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Copy the store, whole as at one moment, while runs go on."""
    from catp.store.artifacts import ArtifactStore
    from catp.store.backup import backup_sqlite
    from catp.store.database_sqlite import SqliteDatabase

    with _opened(store) as runs, _progress("copying files") as progress:
        database, files = runs.database, runs.artifacts
        if not isinstance(database, SqliteDatabase) or not isinstance(files, ArtifactStore):
            fail(
                f"{database.name} is not a SQLite file", EXIT_USAGE, help="use `pg_dump`: everything is in the database"
            )
        made = backup_sqlite(database.path, files, target, progress)
    if json_:
        emit_json("catp.db.backup/1", {**made._asdict(), "database": str(made.database)})
    else:
        emit_text(f"{made.database}: whole, with {made.files:,} files ({made.copied:,} new)")
        for digest in made.missing:
            console_err().print(f"warning: file {digest} is missing in the store itself", markup=False)


@contextmanager
def _opened(store: str | None) -> "Iterator[RunStore]":
    from catp.store.errors import StoreError
    from catp.store.store import RunStore

    target = settings_or_fail(store=store).store
    if isinstance(target, Path) and not target.exists():  # a new one would be whole, and nothing of what was meant
        fail(f"there is no run store {target}", EXIT_UNREACHABLE, help="name one with --store; `catp run` makes one")
    runs = RunStore(target)
    try:
        yield runs
    except StoreError as error:
        fail(str(error), EXIT_UNREACHABLE, help="name another store with --store, or restore a backup")
    finally:
        runs.close()


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, if it is a terminal."""
    from rich.progress import Progress

    with Progress(console=console_err(), transient=True, disable=not console_err().is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _damaged(runs: "RunStore") -> list[str]:
    from catp.store.statements import query

    digests = runs.database.read(lambda c: [row[0] for row in query(c, "SELECT sha256 FROM artifacts ORDER BY sha256")])
    return [digest for digest in digests if not _whole(runs, digest)]


def _whole(runs: "RunStore", digest: str) -> bool:
    try:
        runs.artifacts.get(digest)
    except (OSError, ValueError):
        return False
    return True


def _age(text: str) -> timedelta:
    found = _AGE.fullmatch(text.strip())
    if found is None:
        fail(f"--older-than {text!r}: write a number and d, w, m or y, such as 90d", EXIT_USAGE)
    return timedelta(days=int(found[1]) * _DAYS[found[2]])


def _iso(ns: int | None) -> Any:
    return None if ns is None else datetime.fromtimestamp(ns / 1e9, UTC).isoformat()
