"""What people say and do gets tables: scores, deeds, stops; so do considered plans. Indices for the dashboard."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create tables and indices; nothing is moved."""
    _candidates()
    op.create_table(
        "scores",
        _run_id("scores"),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("scored_by", sa.String(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("scored_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_scores")),
    )
    op.create_table(
        "deeds",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("detail_json", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deeds")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "stops",
        _run_id("stops"),
        sa.Column("asked_by", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("asked_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_stops")),
    )
    op.create_index("runs_by_plan", "runs", ["plan_hash"])
    op.create_index("runs_by_policy", "runs", ["policy", "id"])
    op.create_index("runs_by_cost", "runs", ["cost_nano", "id"])
    op.create_index("runs_by_latency", "runs", ["latency_ms", "id"])
    op.create_index("runs_by_time", "runs", ["created_ns"])
    op.create_index("runs_by_facet", "runs", ["status", "policy", "project", "created_ns"])
    op.create_index("calls_by_run_of_tool", "calls", ["tool", "run_id"])
    op.create_index("costs_by_time", "costs", ["ts_ns", "amount_nano"])
    for name, table, column, only in (
        ("steps_refused", "steps", "run_id", "status = 'refused'"),
        ("calls_failed", "calls", "started_ns", "error_type IS NOT NULL"),
        ("costs_unpriced", "costs", "ts_ns", "amount_nano IS NULL"),
    ):
        op.create_index(name, table, [column], sqlite_where=sa.text(only), postgresql_where=sa.text(only))


def _candidates() -> None:
    op.create_table(
        "candidates",
        _run_id("candidates"),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column(
            "plan_hash", sa.String(length=64), sa.ForeignKey("plans.hash", name=op.f("fk_candidates_plan_hash")),
            nullable=False,
        ),
        sa.Column("est_low", sa.BigInteger(), nullable=True),
        sa.Column("est_cost", sa.BigInteger(), nullable=True),
        sa.Column("est_p95", sa.BigInteger(), nullable=True),
        sa.Column("est_ms", sa.Float(), nullable=True),
        sa.Column("quality", sa.Float(), nullable=True),
        sa.Column("utility", sa.Float(), nullable=True),
        sa.Column("chosen", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "rank", name=op.f("pk_candidates")),
    )  # fmt: skip
    op.create_index("candidates_by_plan", "candidates", ["plan_hash"])


def _run_id(table: str) -> "sa.Column[str]":
    key = sa.ForeignKey("runs.id", name=op.f(f"fk_{table}_run_id"), ondelete="CASCADE")
    return sa.Column("run_id", sa.String(length=26), key, nullable=False)
