"""Events become self-sufficient; values, calls, steps, caches, budgets and approvals get tables."""

import sqlalchemy as sa
from alembic import op

from catp.store.migrations.from_0001 import copy_events, copy_outputs
from catp.store.migrations.layout_0002 import create_tables

revision = "0002"
down_revision = "0001"

_OLD = ("outputs", "costs", "events", "runs", "plans", "artifacts", "meta")


def upgrade() -> None:
    """Move the old tables aside, make the new ones, and carry plans, runs, events, costs and outputs over."""
    connection = op.get_bind()
    for index in ("runs_by_time", "events_by_run"):
        op.drop_index(index)
    for table in _OLD:
        op.rename_table(table, f"old_{table}")
    create_tables()
    for statement in (_PLANS, _RUNS, _ARTIFACTS):
        connection.execute(sa.text(statement))
    copy_events(connection)
    copy_outputs(connection)
    for table in _OLD:
        op.drop_table(f"old_{table}")


_PLANS = """
INSERT INTO plans (hash, source, ast_json, n_nodes, created_ns)
SELECT hash, source, ast_json, n_nodes, created_ns FROM old_plans
"""
_RUNS = """
INSERT INTO runs (id, project, agent, task, plan_hash, policy, status, created_ns, ended_ns, est_cost_lo, est_cost_p50,
    est_cost_hi, cost_nano, saved_nano, unpriced, budget_nano, est_latency_ms, latency_ms, alpha, predicted_quality)
SELECT id, 'default', '', task, plan_hash, policy, status, created_ns, ended_ns, est_cost_lo, est_cost_p50,
    est_cost_hi, coalesce(cost_nano, 0), 0, unpriced, budget_nano, est_latency_ms, latency_ms, alpha, predicted_quality
FROM old_runs
"""
_ARTIFACTS = """
INSERT INTO artifacts (sha256, mime, bytes, width, height, created_ns)
SELECT sha256, mime, bytes, width, height, 0 FROM old_artifacts
"""
