"""`catp cache`: what results of calls are kept, what they have saved, and how to forget them."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from catp.cli.config import settings_or_fail
from catp.cli.options import JsonOption
from catp.cli.output import EXIT_UNREACHABLE, EXIT_USAGE, dollars, emit_json, emit_text, fail
from catp.planlang.money import Money, format_usd

if TYPE_CHECKING:
    from catp.store.store import RunStore

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Show and forget kept results of calls.")

StoreOption = Annotated[str | None, typer.Option("--store", metavar="FILE|URL", help="The store of saved runs.")]
T = TypeVar("T")


@app.command()
def stats(store: StoreOption = None, json_: JsonOption = False) -> None:
    """Show what is kept, tool by tool: results, bytes, how often they were used, what that saved."""
    from catp.cache.stored import usage
    from catp.cli.report import columns

    name, uses = _ask(store, lambda runs: runs.database.read(usage))
    results, size, hits = (
        sum(column) for column in ([getattr(u, f) for u in uses] for f in ("results", "bytes", "hits"))
    )
    saved = Money(sum(use.saved for use in uses))
    if json_:
        emit_json("catp.cache.stats/1", {
            "store": name, "results": results, "bytes": size, "hits": hits, "saved_usd": format_usd(saved),
            "tools": [
                {"tool": u.tool, "results": u.results, "bytes": u.bytes, "hits": u.hits,
                 "saved_usd": format_usd(u.saved)}
                for u in uses
            ],
        })  # fmt: skip
        return
    table = [("tool", "results", "MB", "used", "saved")]
    table += [(u.tool, f"{u.results:,}", f"{u.bytes / 1e6:,.2f}", f"{u.hits:,}", dollars(u.saved)) for u in uses]
    table.append(("total", f"{results:,}", f"{size / 1e6:,.2f}", f"{hits:,}", dollars(saved)))
    emit_text("\n".join(columns(table, right=(1, 2, 3, 4))))


@app.command()
def clear(
    tool: Annotated[str | None, typer.Option(metavar="NAME", help="Only the results of this tool.")] = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Forget kept results, so that the next calls are made. Runs and their values stay."""
    from catp.cache.stored import clear as forget
    from catp.cache.stored import usage
    from catp.planlang.errors import nearest

    def work(runs: "RunStore") -> tuple[int, list[str]]:
        known = [use.tool for use in runs.database.read(usage)]
        return runs.database.write(partial(forget, tool=tool)), known

    name, (gone, known) = _ask(store, work)
    if tool is not None and tool not in known:
        fail(
            f"no result of {tool!r} is kept in {name}",
            EXIT_USAGE,
            help=nearest(tool, known) or "see `catp cache stats`",
        )
    if json_:
        emit_json("catp.cache.clear/1", {"store": name, "tool": tool, "forgotten": gone})
    else:
        emit_text(f"forgot {gone:,} result{'s' * (gone != 1)}")


def _ask(target: str | None, question: "Callable[[RunStore], T]") -> tuple[str, T]:
    from catp.store.store import RunStore, StoreError

    runs = RunStore(settings_or_fail(store=target).store)
    try:
        return runs.name, question(runs)
    except StoreError as error:
        fail(str(error), EXIT_UNREACHABLE)
    finally:
        runs.close()
