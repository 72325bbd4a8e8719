"""`catp dashboard`: show runs, plans, prices and budgets in the browser, and decide about runs there."""

import asyncio
import os
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catp.cli.config import settings_or_fail
from catp.cli.options import JsonOption, ToolsOption
from catp.cli.output import EXIT_UNREACHABLE, EXIT_USAGE, console_err, emit_jsonl, emit_text, fail

if TYPE_CHECKING:
    from catp.agent import Agent
    from catp.config import Settings
    from catp.dashboard.access import Role
    from catp.store.store import RunStore

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def dashboard(
    store: Annotated[str | None, typer.Option(metavar="FILE|URL", help="The store of saved runs.")] = None,
    create: Annotated[bool, typer.Option("--create", help="Make the file that --store names if it is absent.")] = False,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8765,
    root_path: Annotated[str, typer.Option(metavar="/PREFIX", help="Where a proxy serves it.")] = "",
    read_only: Annotated[bool, typer.Option("--read-only", help="Nothing can be changed through it.")] = False,
    token: Annotated[
        str | None, typer.Option(envvar="CATP_DASHBOARD_TOKEN", metavar="TOKEN", help="Of an admin.")
    ] = None,
    operator_token: Annotated[list[str] | None, typer.Option(metavar="TOKEN", help="May decide about runs.")] = None,
    viewer_token: Annotated[list[str] | None, typer.Option(metavar="TOKEN", help="May only look.")] = None,
    tokens: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help='Tokens and roles: {"TOKEN": "viewer", ...}.')
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A name by which it may be addressed.")
    ] = None,
    tools: ToolsOption = None,
    training: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder with training runs.")] = None,
    engine: Annotated[str | None, typer.Option(metavar="URL|off", help="The inference engine to show.")] = None,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser.")] = False,
    json_: JsonOption = False,
) -> None:
    """Show runs as they happen, plans, prices and budgets in the browser; Ctrl-C stops it.

    Without a token only this machine is served. With another --host a token is made and printed, unless one is given.
    """
    from catp.cli.dashboard_server import address_of, is_local, listen, own_names, read_tokens, serve

    settings = settings_or_fail(store=store, tools=tools)
    made = create or settings.sources["store"] != "--store"
    roles = read_tokens(tokens) | dict.fromkeys(viewer_token or (), "viewer")
    roles |= dict.fromkeys(operator_token or (), "operator")
    if token is not None:
        roles[token] = "admin"
    invented = not roles and not is_local(host)
    if invented:
        roles[secrets.token_urlsafe(24)] = "admin"
    names = [*(allow_host or ()), *own_names(host)]
    with listen(host, port) as sock:
        _check_store(settings.store, made=made)
        served = _application(
            settings.store, root_path=_prefix(root_path), read_only=read_only, tokens=roles, hosts=names,
            agent_for=_agent_for(settings), training=training, engine=engine,
        )  # fmt: skip
        address = address_of(sock, names)
        # who starts it without a token has no other way in; tokens that people chose stay unsaid
        opened = f"{address}?token={next(iter(roles))}" if invented else address
        asyncio.run(serve(served, sock, started=lambda: _tell(opened, settings, json_=json_, open_=open_)))


def _tell(address: str, settings: "Settings", *, json_: bool, open_: bool) -> None:
    from catp.store.store import RunStore

    name = RunStore(settings.store).name
    if json_:
        emit_jsonl("catp.dashboard/1", {"url": address, "pid": os.getpid(), "store": name})
    else:
        emit_text(f"dashboard: {address}\n    store: {name}\n     stop: Ctrl-C")
    if open_:
        import webbrowser

        webbrowser.open(address)


def _check_store(target: Path | str, *, made: bool) -> None:
    """Open the store once, which makes or upgrades it; a file that was named and is not there may be a slip."""
    from sqlalchemy import text

    from catp.store.errors import StoreError, StoreUnavailable
    from catp.store.store import RunStore

    if isinstance(target, Path) and not target.exists() and not made:
        fail(
            f"there is no run store {target}", EXIT_UNREACHABLE,
            help="--create makes it; without --store, your usual store is opened",
        )  # fmt: skip
    store = RunStore(target)
    try:
        store.database.read(lambda connection: connection.execute(text("SELECT 1")).all())
    except StoreUnavailable as error:  # locked, or a database that is not up: the pages wait for it
        console_err().print(f"warning: {error}; the pages try again", markup=False)
    except StoreError as error:
        fail(str(error), EXIT_UNREACHABLE)
    finally:
        store.close()


def _application(store: Path | str, *, tokens: "dict[str, Role]", **options: Any) -> Any:
    try:
        import uvicorn  # noqa: F401  # missing now is better than missing when everything else is done

        from catp.dashboard.app import create_app

        return create_app(store, tokens=tokens, **options)
    except ModuleNotFoundError as error:
        fix = "pip install 'catp[dashboard]' (in a clone: '.[dashboard]')"
        fail(f"the dashboard needs {error.name or 'FastAPI'}", EXIT_USAGE, help=fix)
    except ValueError as error:  # a token that is too short
        fail(str(error), EXIT_USAGE)


def _agent_for(settings: "Settings") -> "Callable[[RunStore], Agent]":
    """Makes the agent that plans, starts and ends runs here, as `catp run` would; named tools must be there."""
    from catp.cli.run_agent import agent_from
    from catp.dashboard.problems import Problem

    if settings.sources["tools"] != "default":
        from catp.cli.catalogues import load_catalogue

        load_catalogue(settings.tools)
    # the policy needs half a gigabyte: it is loaded where somebody asked for it
    chosen = replace(settings, planner=settings.planner or "search")

    def make(_: "RunStore") -> "Agent":
        from catp.tools.errors import ToolError

        try:
            return agent_from(chosen, save=True)
        except (ToolError, typer.Exit) as error:
            raise Problem(409, "no-tools", "the built-in tools are missing: pip install 'catp[tools]'") from error

    return make


def _prefix(root_path: str) -> str:
    path = root_path.rstrip("/")
    if path and not path.startswith("/"):
        fail(f"--root-path {root_path!r} must begin with /", EXIT_USAGE)
    return path
