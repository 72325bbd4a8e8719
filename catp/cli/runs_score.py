"""`catp runs score`: say how good the result of a run was."""

import math
import time
from typing import TYPE_CHECKING, Annotated

import typer

from catp.approvals import user
from catp.cli.config import settings_or_fail
from catp.cli.deeds import note as note_deed
from catp.cli.options import JsonOption
from catp.cli.output import EXIT_UNREACHABLE, EXIT_USAGE, emit_json, emit_text, fail, printable
from catp.cli.runs_resume import RunArgument, StoreOption

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from catp.store.scores import Score

__all__ = ["score"]


def score(
    run_id: RunArgument,
    value: Annotated[float, typer.Argument(metavar="0..1", help="From 0 (useless) to 1 (perfect).")],
    note: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the record.")] = "",
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Say how good the result of a run was; replaces what was said before. Training learns from it."""
    if not (math.isfinite(value) and 0 <= value <= 1):
        fail(f"a score is a number from 0 (useless) to 1 (perfect), not {value}", EXIT_USAGE)
    kept = _keep(store, run_id, value, note)
    if json_:
        emit_json("catp.score/1", {"run": kept.run_id, "value": kept.value, "by": kept.by, "note": kept.note})
    else:
        emit_text(f"run {kept.run_id}: quality {kept.value:g}, said {printable(kept.by)}")


def _keep(target: str | None, run_id: str, value: float, note: str) -> "Score":
    from catp.store.errors import StoreError
    from catp.store.queries import find
    from catp.store.scores import put
    from catp.store.store import RunStore

    store = RunStore(settings_or_fail(store=target).store)

    def write(connection: "Connection") -> "Score":
        run = find(connection, run_id, store.name)
        note_deed(connection, "run.score", run.id, value=value, before=run.quality, note=note)
        return put(connection, run.id, value, by=user(), note=note, now_ns=time.time_ns())

    try:
        return store.database.write(write)
    except StoreError as error:
        fail(str(error), EXIT_UNREACHABLE)
    except KeyError as error:
        fail(str(error.args[0]), EXIT_USAGE)
    finally:
        store.close()
