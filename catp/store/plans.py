"""Plans as runs have them: kept once under their digest, which is that of what a plan does, not of how it is named.

Everything kept of a run goes by the names of its steps. A plan that does the same as a kept one, but calls its inputs
or steps otherwise, is therefore kept under a key of its own.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection

from catp.planlang.errors import PlanError
from catp.planlang.parser import parse
from catp.store.records import NewPlan, NewRun
from catp.store.statements import ADD_PLAN, execute, query

__all__ = ["keep_plans"]


def keep_plans(connection: Connection, run: NewRun, now_ns: int) -> str:
    """Keep the plan of a run and its rivals; return what the run's plan is kept under."""
    _add(connection, [run, *run.rivals], now_ns)
    source = str(query(connection, "SELECT source FROM plans WHERE hash = ?", run.plan_hash)[0].source)
    if source == run.plan_source or _same_names(source, run.plan_source):
        return run.plan_hash
    own = hashlib.sha256(f"{run.plan_hash}\n{run.plan_source}".encode()).hexdigest()
    _add(connection, [NewPlan(own, run.plan_source, run.plan_json, run.n_nodes)], now_ns)
    return own


def _add(connection: Connection, plans: Sequence[NewPlan | NewRun], now_ns: int) -> None:
    rows = [(one.plan_hash, one.plan_source, json.dumps(one.plan_json), one.n_nodes, now_ns) for one in plans]
    execute(connection, ADD_PLAN, rows)


def _same_names(kept: str, source: str) -> bool:
    """True if the plans differ in their own name and doc text at most, which nothing kept of a run goes by."""
    try:
        one, other = (replace(parse(text), name=None, doc=None) for text in (kept, source))
    except PlanError:  # the kept one is damaged
        return False
    return one == other
