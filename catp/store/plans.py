"""Plans as runs have them: kept once under their digest, which is that of what a plan does, not of how it is named.

Everything kept of a run goes by the names of its steps. A plan that does the same as a kept one, but calls its inputs
or steps otherwise, is therefore kept under a key of its own.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from sqlalchemy import Connection

from catp.planlang.errors import PlanError
from catp.planlang.parser import parse
from catp.store.records import NewPlan, NewRun
from catp.store.statements import ADD_PLAN, execute, query

__all__ = ["KeptPlans", "PlanRow", "add_plans", "keep_plans"]

PlanRow: TypeAlias = tuple[str, str, str, int, int]
"""digest, text, JSON text, number of steps, when it was kept (Unix nanoseconds)"""


class KeptPlans(NamedTuple):
    """What the plan of a run is kept under, and the rows of it and its rivals.

    Nothing refers to the rows until the run itself is written with its first event. Pruning may drop them before that,
    so they are added once more with it.
    """

    key: str
    rows: tuple[PlanRow, ...]


def keep_plans(connection: Connection, run: NewRun, now_ns: int) -> KeptPlans:
    """Keep the plan of a run and its rivals."""
    plans: list[NewPlan | NewRun] = [run, *run.rivals]
    rows = tuple(_row(plan, now_ns) for plan in plans)
    add_plans(connection, rows)
    source = str(query(connection, "SELECT source FROM plans WHERE hash = ?", run.plan_hash)[0].source)
    if source == run.plan_source or _same_names(source, run.plan_source):
        return KeptPlans(run.plan_hash, rows)
    own = hashlib.sha256(f"{run.plan_hash}\n{run.plan_source}".encode()).hexdigest()
    rows = (_row(NewPlan(own, run.plan_source, run.plan_json, run.n_nodes), now_ns), *rows)
    add_plans(connection, rows[:1])
    return KeptPlans(own, rows)


def add_plans(connection: Connection, rows: Sequence[PlanRow]) -> None:
    """Add those that are not there."""
    execute(connection, ADD_PLAN, rows)


def _row(plan: NewPlan | NewRun, now_ns: int) -> PlanRow:
    return plan.plan_hash, plan.plan_source, json.dumps(plan.plan_json), plan.n_nodes, now_ns


def _same_names(kept: str, source: str) -> bool:
    """True if the plans differ in their own name and doc text at most, which nothing kept of a run goes by."""
    try:
        one, other = (replace(parse(text), name=None, doc=None) for text in (kept, source))
    except PlanError:  # the kept one is damaged
        return False
    return one == other
