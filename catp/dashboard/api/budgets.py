"""Shared budgets: `/budgets`. An admin sets them, through the functions of `catp budgets`."""

import time
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from catp.dashboard.access import allows
from catp.dashboard.context import Context
from catp.dashboard.forms import nano_of, usd
from catp.dashboard.problems import Problem
from catp.dashboard.read.budgets import budget_row, budgets
from catp.dashboard.read.how import BUDGETS_HOW
from catp.planlang.money import Money
from catp.runtime.periods import Period
from catp.store.budgets import Budget, remove_budget, set_budget, standings

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["add"]

_Level = Annotated[float, Field(gt=0, le=1)]


class Change(BaseModel):
    """A cap in US dollars (decimal string) and the shares of it that are warned of, once each."""

    model_config = ConfigDict(extra="forbid")

    limit: str
    warn: list[_Level] = Field([0.8, 1.0], max_length=10)


class NewBudget(Change):
    """Whose budget, and how often it starts again (UTC)."""

    scope: Literal["project", "agent"]
    name: str = Field(min_length=1, max_length=200, pattern=r"\S")
    period: Period = "total"


def add(api: "APIRouter", context: Context) -> None:
    """Add the paths."""
    from fastapi import Depends
    from starlette.requests import Request
    from starlette.responses import Response

    database = context.store.database

    def is_admin(request: Request) -> None:
        if not allows(request.scope["catp_role"], "admin"):
            raise Problem(403, "role", "budgets are set by an admin; use the token of one")

    only_admin = [Depends(is_admin)]

    @api.get("/budgets")
    def listed() -> dict[str, Any]:
        return {"items": context.read(partial(budgets, now_ns=time.time_ns())), "how": BUDGETS_HOW}

    @api.post("/budgets", status_code=201, dependencies=only_admin)
    def make(body: NewBudget, request: Request) -> dict[str, Any]:
        now, cap = time.time_ns(), _cap(body.limit)

        def work(connection: Any) -> Budget:
            for there in (standing.budget for standing in standings(connection, now)):
                if there[1:4] == (body.scope, body.name, body.period):
                    raise Problem(409, "budget-exists", f"{there.title} has a limit of ${usd(there.cap)}; change that")
            return set_budget(connection, body.scope, body.name, body.period, cap, body.warn, now)

        made = database.write(work, durable=True)
        context.audit(request, "budget.set", made.title, limit=usd(made.cap), warn=list(made.warn), before=None)
        return context.read(partial(budget_row, id=made.id, now_ns=now))

    @api.put("/budgets/{id}", dependencies=only_admin)
    def change(id: str, body: Change, request: Request) -> dict[str, Any]:
        now, cap = time.time_ns(), _cap(body.limit)

        def work(connection: Any) -> tuple[Budget, Budget]:
            old = _find(connection, id, now)
            return old, set_budget(connection, old.scope, old.name, old.period, cap, body.warn, now)

        old, new = database.write(work, durable=True)
        about = {"limit": usd(new.cap), "warn": list(new.warn), "before": usd(old.cap)}
        context.audit(request, "budget.set", new.title, **about)
        return context.read(partial(budget_row, id=id, now_ns=now))

    @api.delete("/budgets/{id}", status_code=204, dependencies=only_admin)
    def remove(id: str, request: Request) -> Response:

        def work(connection: Any) -> Budget:
            old = _find(connection, id, time.time_ns())
            remove_budget(connection, old.scope, old.name, old.period)
            return old

        old = database.write(work, durable=True)
        context.audit(request, "budget.remove", old.title, limit=usd(old.cap))
        return Response(status_code=204)


def _cap(text: str) -> Money:
    cap = nano_of("limit", text)
    if cap is None or cap <= 0:
        raise Problem(422, "query", "limit: a budget must be more than $0; remove it to run without one")
    return Money(cap)


def _find(connection: Any, id: str, now_ns: int) -> Budget:
    found = next((s.budget for s in standings(connection, now_ns) if s.budget.id == id), None)
    if found is None:
        raise KeyError(f"there is no budget {id[:60]!r}; somebody may have removed it")
    return found
