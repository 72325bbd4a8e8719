"""The dashboard's application: what is asked under which path. Shapes are in docs/dashboard.md and the OpenAPI page."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from catp.dashboard.access import Access, Role
from catp.dashboard.actions import AgentFor, default_agent
from catp.dashboard.context import Context
from catp.dashboard.engine.follower import Follower
from catp.dashboard.engine.form import engine_of, seen_json
from catp.dashboard.feed import ENGINE_SAMPLE, Feed
from catp.dashboard.guard import LOCAL_HOSTS, Guard
from catp.dashboard.jobs import Jobs
from catp.dashboard.pages import add_pages
from catp.dashboard.problems import MEDIA_TYPE, Problem, of_error, of_query
from catp.dashboard.read.declared import Declared
from catp.dashboard.read.training import training_dir
from catp.dashboard.squeeze import Squeeze
from catp.store.errors import StoreError
from catp.store.redaction import Redact
from catp.store.store import RunStore

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response

    from catp.dashboard.planning import PlanDesk

__all__ = ["create_app"]

_RESOURCES = (
    "events", "overview", "runs", "run", "export", "compare", "pareto", "decisions", "plans", "artifacts", "tools",
    "spend",
    "budgets", "candidates", "planning", "starting",
    "engine", "training", "settings", "demo",
)  # fmt: skip
"""Modules of `catp.dashboard.api`, in the order in which their paths are tried."""


def create_app(
    store_url: Path | str,
    *,
    root_path: str = "",
    read_only: bool = False,
    token: str | None = None,
    tokens: Mapping[str, Role] | None = None,
    hosts: Iterable[str] = (),
    agent_for: AgentFor = default_agent,
    training: Path | None = None,
    engine: str | None = None,
    poll_s: float = 0.05,
    busy_s: float = 2.0,
    redact: Redact | None = None,
    queue: int = 1_000,
) -> "FastAPI":
    """Return the ASGI application.

    Args:
        store_url: SQLite file or PostgreSQL URL of the run store.
        root_path: Prefix under which a proxy serves it.
        read_only: Refuse every state change.
        token: Token of an admin; without any token only this machine is served, and everybody on it is admin.
        tokens: Further tokens and what they allow.
        hosts: Names, besides localhost, under which the server may be addressed.
        agent_for: Makes the agent that ends runs, with the tools they ran with.
        training: Folder with the folders of training runs (`catp train --out`); None: `runs`, if there is one.
        engine: Address of the inference engine to show, `off` for none; None: the one that agents plan with.
        poll_s: How often the store is looked at for new events, while somebody listens.
        busy_s: How long to wait for a locked store.
        redact: Keeps secrets of runs that are started here out of the store; see `catp.store.redaction`.
        queue: Events that may wait for one listener.

    Raises:
        ValueError: a token that is too short, or a role that does not exist.
        ModuleNotFoundError: the extra `dashboard` is missing.
    """
    try:
        from fastapi import FastAPI
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the dashboard needs FastAPI: pip install 'catp[dashboard]'") from error

    access = Access({**(tokens or {}), **({} if token is None else {token: "admin"})})
    store = RunStore(store_url, busy_s=busy_s, redact=redact)
    feed = Feed(store.database, poll_s=poll_s, room=queue)
    jobs = Jobs(store, agent_for)
    follower = Follower(engine_of(engine), lambda seen: feed.publish(ENGINE_SAMPLE, seen_json(seen)))

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        yield
        await jobs.close()
        await feed.close()
        await follower.close()
        store.close()

    app = FastAPI(
        title="CATP dashboard", version=_version(), lifespan=lifespan,
        openapi_url="/api/openapi.json", docs_url=None, redoc_url=None,
    )  # fmt: skip
    app.state.store, app.state.feed, app.state.engine, app.state.jobs = store, feed, follower, jobs
    _add_errors(app)
    server = {
        "root_path": root_path, "hosts": sorted(LOCAL_HOSTS | set(hosts)), "roles": sorted(set(access.tokens.values())),
    }  # fmt: skip
    desk = _desk(store, jobs)
    missing, curves = _missing(store_url), training_dir(training)
    declared = Declared(lambda: agent_for(store).catalogue)
    _add_api(app, Context(store, feed, agent_for, read_only, missing, declared, desk, curves, follower, server))
    add_pages(app)
    app.add_middleware(Squeeze)
    app.add_middleware(  # outside of it: what it refuses is short
        Guard, access=access, hosts=LOCAL_HOSTS | set(hosts), read_only=read_only, root_path=root_path.rstrip("/")
    )
    return app


def _desk(store: RunStore, jobs: Jobs) -> "Callable[[], PlanDesk]":
    """Makes the desk when it is first needed: a server that only shows runs needs none of what it loads."""
    making = Lock()
    made: list[PlanDesk] = []

    def desk() -> "PlanDesk":
        with making:
            if not made:
                from catp.dashboard.planning import PlanDesk

                made.append(PlanDesk(store, jobs))
            return made[0]

    return desk


def _add_api(app: "FastAPI", context: Context) -> None:
    from fastapi import APIRouter, Depends

    from catp.dashboard.api import meta, metrics

    meta.add(app, context)
    metrics.add(app, context)
    api = APIRouter(prefix="/api/v1", dependencies=[Depends(context.missing)])
    for name in _RESOURCES:
        import_module(f"catp.dashboard.api.{name}").add(api, context)
    app.include_router(api)


def _version() -> str:
    from catp import __version__

    return __version__


def _missing(store_url: Path | str) -> Any:
    """A check that refuses to answer from a store that is not there, since opening it would make an empty one."""
    path = None if isinstance(store_url, str) and "://" in store_url else Path(store_url)

    def check() -> None:
        if path is not None and not path.exists():
            raise Problem(503, "store-missing", f"there is no run store {path}; `catp run` makes it", retry_after=5)

    return check


def _add_errors(app: "FastAPI") -> None:
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    async def problem(_: "Request", error: Exception) -> "Response":
        assert isinstance(error, Problem)
        return _answer(error)

    async def store(_: "Request", error: Exception) -> "Response":
        return _answer(of_error(error))

    async def absent(_: "Request", error: Exception) -> "Response":
        return _answer(Problem(404, "not-found", str(error.args[0]) if error.args else "no such thing"))

    async def query(_: "Request", error: Exception) -> "Response":
        assert isinstance(error, RequestValidationError)
        return _answer(of_query(error.errors()))

    async def http(_: "Request", error: Exception) -> "Response":
        assert isinstance(error, HTTPException)
        return _answer(Problem(error.status_code, "http", str(error.detail)))

    handlers = {
        Problem: problem, StoreError: store, KeyError: absent, RequestValidationError: query, HTTPException: http,
    }  # fmt: skip
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def _answer(problem: Problem) -> "Response":
    from starlette.responses import JSONResponse

    return JSONResponse(problem.body(), problem.status, problem.headers(), media_type=MEDIA_TYPE)
