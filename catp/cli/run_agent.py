"""The agent that the settings describe, and whether its run can be saved and counted."""

from pathlib import Path
from typing import TYPE_CHECKING

from catp.cli.output import EXIT_UNREACHABLE, EXIT_USAGE, fail

if TYPE_CHECKING:
    from catp.agent import Agent
    from catp.config import Settings

__all__ = ["agent_from", "check_store", "check_uncounted"]


def agent_from(settings: "Settings", *, save: bool) -> "Agent":
    """Build the agent the settings describe."""
    from catp.agent import Agent
    from catp.cli.catalogues import load_catalogue
    from catp.planners.chosen import planner_for
    from catp.telemetry import TelemetryError, telemetry_for

    try:
        telemetry = telemetry_for(settings.telemetry)
        planner = planner_for(settings.planner)
    except (TelemetryError, ValueError) as error:
        fail(str(error), EXIT_USAGE)
    return Agent(
        load_catalogue(settings.tools, settings.profiles),
        planner,
        budget=settings.budget,
        deadline_s=settings.deadline,
        alpha=settings.alpha,
        store=settings.store if save else None,
        profiles=settings.profiles if save else None,
        workers=settings.workers,
        assume_price=settings.assume_price,
        reserve=settings.reserve,
        strict=settings.strict,
        project=settings.project,
        name=settings.agent,
        telemetry=telemetry or False,
        repair=settings.repair,
        approve_plan=settings.approve_plan,
        cache=settings.cache,
        cache_mb=settings.cache_mb,
        eager=settings.eager if settings.eager_cap is None else settings.eager and settings.eager_cap,
    )


def check_store(agent: "Agent") -> None:
    """End the command before anything is spent if the run could not be saved anyway."""
    from catp.store.store import StoreError

    assert agent.store is not None
    try:
        agent.store.list(limit=1)
    except StoreError as error:
        fail(str(error), EXIT_UNREACHABLE, help="name another store with --store, or run with --no-save")


def check_uncounted(settings: "Settings") -> None:
    """End the command if a shared budget holds for the run: it could not count a run that is not saved."""
    if isinstance(settings.store, Path) and not settings.store.exists():
        return
    from catp.spending import desk_for
    from catp.store.errors import StoreError
    from catp.store.store import RunStore

    store = RunStore(settings.store)
    desk = desk_for(store, settings.project, settings.agent)
    assert desk is not None
    try:
        rooms = desk.rooms()
    except StoreError as error:
        rooms = []  # only who named a project or an agent can have a budget
        if desk.capped:
            fail(str(error), EXIT_UNREACHABLE, help="name another store with --store")
    finally:
        desk.close()
        store.close()
    if rooms:
        fail(
            f"{rooms[0].name} has a budget, which cannot count a run that is not saved",
            EXIT_USAGE, help="leave out --no-save, or name another --project",
        )  # fmt: skip
