"""Tables of the run store. Money is integer nano-USD, times are Unix nanoseconds, digests are hex SHA-256.

Truth      plans, events, node_io, artifacts, approvals, scores, budgets: written once, kept until pruned; deeds: kept
Projection runs, candidates, steps, calls, costs, rollup_day, budget_periods: follow from the truth; `catp db rebuild`
Passing    reservations (money held by running calls), cache (results that may be used again), who drives a run, stops

`element` and `step` are never NULL in keys: an element of -1 is a step that is not mapped, an empty step the whole run.
A change here needs a migration (`catp/store/migrations`); a test compares what migrations make with these tables.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

__all__ = [
    "NO_ELEMENT", "approvals", "artifacts", "budget_fires", "budget_periods", "budgets", "cache", "calls", "candidates",
    "costs", "deeds", "events", "meta", "metadata", "node_io", "plans", "reservations", "rollup_day", "runs", "scores",
    "steps", "stops",
]  # fmt: skip

NO_ELEMENT = -1

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)

_SEQ = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows only in an INTEGER key


def _run_id(**options: Any) -> Column[str]:
    return Column("run_id", String(26), ForeignKey("runs.id", ondelete="CASCADE"), **options)


def _some(name: str, *columns: str, only: str) -> Index:
    """An index of few rows: those of which `only` is true."""
    return Index(name, *columns, sqlite_where=text(only), postgresql_where=text(only))


meta = Table(  # `written_by`: the version of catp that made or migrated this store
    "meta", metadata, Column("key", String, primary_key=True), Column("value", String, nullable=False)
)

plans = Table(
    "plans",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("source", Text, nullable=False),
    Column("ast_json", Text, nullable=False),
    Column("n_nodes", Integer, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("project", String, nullable=False, default="default"),
    Column("agent", String, nullable=False, default=""),
    Column("task", Text, nullable=False),
    Column("plan_hash", ForeignKey("plans.hash"), nullable=False),
    Column("policy", String, nullable=False),
    Column("status", String, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("ended_ns", BigInteger),
    Column("est_cost_lo", BigInteger),
    Column("est_cost_p50", BigInteger),
    Column("est_cost_hi", BigInteger),
    Column("cost_nano", BigInteger, nullable=False, default=0),
    Column("saved_nano", BigInteger, nullable=False, default=0),
    Column("unpriced", Integer, nullable=False, default=0),
    Column("budget_nano", BigInteger),
    Column("deadline_ms", Float),
    Column("est_latency_ms", Float),
    Column("latency_ms", Float),
    Column("alpha", Float),
    Column("predicted_quality", Float),
    Column("parent_run_id", String(26)),
    Column("fork_step", String),
    Column("owner", String),  # host:pid:start of the process that drives the run; NULL when nobody does
    Column("heartbeat_ns", BigInteger),
    Index("runs_by_project", "project", "id"),
    Index("runs_by_status", "status", "id"),
    Index("runs_by_parent", "parent_run_id"),
    Index("runs_by_plan", "plan_hash"),
    Index("runs_by_policy", "policy", "id"),
    Index("runs_by_cost", "cost_nano", "id"),
    Index("runs_by_latency", "latency_ms", "id"),
    Index("runs_by_time", "created_ns"),
    Index("runs_by_facet", "status", "policy", "project", "created_ns"),
)

candidates = Table(
    "candidates",
    metadata,
    _run_id(primary_key=True),
    Column("rank", Integer, primary_key=True),  # in the order of the planner, 1 is the best
    Column("plan_hash", ForeignKey("plans.hash"), nullable=False),
    Column("est_low", BigInteger),
    Column("est_cost", BigInteger),
    Column("est_p95", BigInteger),
    Column("est_ms", Float),
    Column("quality", Float),
    Column("utility", Float),
    Column("chosen", Boolean, nullable=False),
    Index("candidates_by_plan", "plan_hash"),
)

events = Table(
    "events",
    metadata,
    Column("seq", _SEQ, primary_key=True, autoincrement=True),
    _run_id(nullable=False),
    Column("run_seq", Integer, nullable=False),
    Column("ts_ns", BigInteger, nullable=False),
    Column("type", String, nullable=False),
    Column("step", String),
    Column("attempt", Integer),
    Column("element", Integer),
    Column("data_json", Text, nullable=False),
    Index("events_by_run", "run_id", "run_seq", unique=True),
    sqlite_autoincrement=True,  # numbers are never used twice: readers follow the table by them
)

steps = Table(
    "steps",
    metadata,
    _run_id(primary_key=True),
    Column("step", String, primary_key=True),
    Column("status", String, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("tool", String),
    Column("calls", Integer, nullable=False, default=0),
    Column("ready_ns", BigInteger),
    Column("started_ns", BigInteger),
    Column("ended_ns", BigInteger),
    Column("cost_nano", BigInteger),  # NULL: no call, or none with a known price
    Column("saved_nano", BigInteger, nullable=False, default=0),
    _some("steps_refused", "run_id", only="status = 'refused'"),
)

calls = Table(
    "calls",
    metadata,
    _run_id(primary_key=True),
    Column("step", String, primary_key=True),
    Column("element", Integer, primary_key=True, default=NO_ELEMENT),
    Column("attempt", Integer, primary_key=True),
    Column("tool", String, nullable=False),
    Column("version", String, nullable=False, default="1"),
    Column("alternative", Integer, nullable=False, default=0),
    Column("outcome", String),  # NULL while it runs
    Column("cached", Boolean, nullable=False, default=False),
    Column("key", String),
    Column("started_ns", BigInteger, nullable=False),
    Column("ended_ns", BigInteger),
    Column("reserved_nano", BigInteger),
    Column("est_cost_nano", BigInteger),
    Column("est_ms", Float),
    Column("p95_ms", Float),
    Column("cost_nano", BigInteger),
    Column("ms", Float),
    Column("size", Integer),
    Column("usage_json", Text),
    Column("output_json", Text),
    Column("error_type", String),
    Column("reason", Text),
    Index("calls_by_tool", "tool", "version", "started_ns"),
    Index("calls_by_run_of_tool", "tool", "run_id"),
    _some("calls_failed", "started_ns", only="error_type IS NOT NULL"),
)

costs = Table(
    "costs",
    metadata,
    _run_id(primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("ts_ns", BigInteger, nullable=False),  # when the call started: its day and its budget period
    Column("step", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("element", Integer),
    Column("tool", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("quantity", Float),  # NULL if the tool reported no finite number
    Column("unit", String, nullable=False),
    Column("unit_price_usd", String),
    Column("amount_nano", BigInteger),  # NULL is unpriced; never 0 for unknown
    Column("source", String, nullable=False),
    Column("priced", Boolean, nullable=False),
    Column("estimate_nano", BigInteger),
    Column("overrun", Boolean, nullable=False),
    Column("saved_nano", BigInteger),
    Column("note", Text, nullable=False),
    Index("costs_by_time", "ts_ns", "amount_nano"),
    _some("costs_unpriced", "ts_ns", only="amount_nano IS NULL"),
)

node_io = Table(
    "node_io",
    metadata,
    _run_id(primary_key=True),
    Column("kind", String, primary_key=True),  # input, step, output
    Column("name", String, primary_key=True),
    Column("element", Integer, primary_key=True, default=NO_ELEMENT),
    Column("codec", String),  # how to read the value back; NULL if it can only be shown
    Column("mime", String, nullable=False),
    Column("inline", LargeBinary),
    Column("sha256", ForeignKey("artifacts.sha256")),
    Index("node_io_by_artifact", "sha256"),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("mime", String, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("width", Integer),
    Column("height", Integer),
    Column("thumb_sha256", String(64)),
    Column("created_ns", BigInteger, nullable=False),
    Column("content", LargeBinary),  # the bytes themselves where there is no folder for them (PostgreSQL)
)

approvals = Table(
    "approvals",
    metadata,
    _run_id(primary_key=True),
    Column("step", String, primary_key=True),  # empty for the whole plan
    Column("requested_ns", BigInteger, primary_key=True),
    Column("plan_hash", String(64), nullable=False),
    Column("cap_nano", BigInteger),
    Column("expires_ns", BigInteger),
    Column("detail_json", Text, nullable=False),
    Column("decision", String),  # granted, denied; NULL while it is open
    Column("decided_by", String),
    Column("decided_ns", BigInteger),
    Column("reason", Text),
    Index("approvals_open", "decision", "requested_ns"),
)

scores = Table(  # how good the result of a run was, as somebody said
    "scores",
    metadata,
    _run_id(primary_key=True),
    Column("value", Float, nullable=False),  # 0 to 1
    Column("scored_by", String, nullable=False),
    Column("note", Text, nullable=False),
    Column("scored_ns", BigInteger, nullable=False),
)

deeds = Table(  # what people changed; outlives the runs it is about
    "deeds",
    metadata,
    Column("id", _SEQ, primary_key=True, autoincrement=True),
    Column("at_ns", BigInteger, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("target", String, nullable=False),
    Column("detail_json", Text, nullable=False),
    sqlite_autoincrement=True,
)

stops = Table(  # runs that the process that drives them is asked to cancel
    "stops",
    metadata,
    _run_id(primary_key=True),
    Column("asked_by", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("asked_ns", BigInteger, nullable=False),
)

budgets = Table(
    "budgets",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("scope", String, nullable=False),  # agent, project
    Column("name", String, nullable=False),
    Column("period", String, nullable=False),  # total, day, week, month
    Column("limit_nano", BigInteger, nullable=False),
    Column("warn_levels", String, nullable=False, default=""),
    Column("created_ns", BigInteger, nullable=False),
    Index("budgets_by_scope", "scope", "name", "period", unique=True),
)

budget_periods = Table(
    "budget_periods",
    metadata,
    Column("budget_id", ForeignKey("budgets.id", ondelete="CASCADE"), primary_key=True),
    Column("period_start", String, primary_key=True),  # ISO date (UTC); empty for `total`
    Column("spent_nano", BigInteger, nullable=False, default=0),
    Column(
        "pruned_nano", BigInteger, nullable=False, server_default="0"
    ),  # the part of it spent by runs no longer kept
)

budget_fires = Table(
    "budget_fires",
    metadata,
    Column("budget_id", ForeignKey("budgets.id", ondelete="CASCADE"), primary_key=True),
    Column("period_start", String, primary_key=True),
    Column("level", Float, primary_key=True),
    Column("fired_ns", BigInteger, nullable=False),
    Column("run_id", String(26)),
)

reservations = Table(
    "reservations",
    metadata,
    Column("budget_id", ForeignKey("budgets.id", ondelete="CASCADE"), primary_key=True),
    Column("run_id", String(26), primary_key=True),
    Column("step", String, primary_key=True),
    Column("element", Integer, primary_key=True, default=NO_ELEMENT),
    Column("attempt", Integer, primary_key=True),
    Column("period_start", String, nullable=False),
    Column("amount_nano", BigInteger, nullable=False),
    Column("expires_ns", BigInteger, nullable=False),
    Index("reservations_by_run", "run_id"),
    Index("reservations_by_expiry", "expires_ns"),
)

cache = Table(
    "cache",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("tool", String, nullable=False),
    Column("version", String, nullable=False),
    Column("codec", String, nullable=False),
    Column("mime", String, nullable=False),
    Column("inline", LargeBinary),
    Column("sha256", ForeignKey("artifacts.sha256")),
    Column("bytes", BigInteger, nullable=False),
    Column("price_nano", BigInteger),
    Column("ms", Float, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("expires_ns", BigInteger),
    Column("used_ns", BigInteger, nullable=False),
    Column("hits", Integer, nullable=False, default=0),
    Column("priority", Float, nullable=False),
    Index("cache_by_priority", "priority"),
    Index("cache_by_artifact", "sha256"),
)

rollup_day = Table(
    "rollup_day",
    metadata,
    Column("day", String(10), primary_key=True),  # UTC day in which the calls, or the runs, started
    Column("project", String, primary_key=True),
    Column("kind", String, primary_key=True),  # tool (its calls), policy (its runs)
    Column("name", String, primary_key=True),
    Column("pruned", Boolean, primary_key=True, default=False),  # of runs that are no longer kept
    Column("n", Integer, nullable=False),
    Column("ok", Integer, nullable=False),
    Column("cached", Integer, nullable=False),
    Column("cost_nano", BigInteger, nullable=False),
    Column("saved_nano", BigInteger, nullable=False),
    Column("unpriced", Integer, nullable=False),
    Column("ms_sum", Float, nullable=False),
    Column("ms_hist", LargeBinary, nullable=False),  # see `catp.store.rollups`
)
