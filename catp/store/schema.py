"""Tables of the run store. Money is integer nano-USD, times are Unix nanoseconds, digests are hex SHA-256.

`events` is the record of what happened, in order; `runs`, `costs` and `outputs` are what lists and pages read.
"""

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text

__all__ = ["SCHEMA_VERSION", "artifacts", "costs", "events", "meta", "metadata", "outputs", "plans", "runs"]

SCHEMA_VERSION = 1

metadata = MetaData()

meta = Table("meta", metadata, Column("key", String, primary_key=True), Column("value", String, nullable=False))

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
    Column("task", Text, nullable=False),
    Column("plan_hash", ForeignKey("plans.hash"), nullable=False),
    Column("policy", String, nullable=False),
    Column("status", String, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("ended_ns", BigInteger),
    Column("est_cost_lo", BigInteger),
    Column("est_cost_p50", BigInteger),
    Column("est_cost_hi", BigInteger),
    Column("cost_nano", BigInteger),
    Column("budget_nano", BigInteger),
    Column("unpriced", Integer, nullable=False, default=0),
    Column("est_latency_ms", Float),
    Column("latency_ms", Float),
    Column("alpha", Float),
    Column("predicted_quality", Float),
    Index("runs_by_time", "created_ns", "id"),
)

events = Table(
    "events",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("run_seq", Integer, nullable=False),
    Column("ts_ns", BigInteger, nullable=False),
    Column("type", String, nullable=False),
    Column("step", String),
    Column("attempt", Integer),
    Column("element", Integer),
    Column("data_json", Text, nullable=False),
    Index("events_by_run", "run_id", "run_seq", unique=True),
)

costs = Table(
    "costs",
    metadata,
    Column("run_id", ForeignKey("runs.id"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("step", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("element", Integer),
    Column("tool", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("quantity", Float, nullable=False),
    Column("unit", String, nullable=False),
    Column("unit_price_usd", String),
    Column("amount_nano", BigInteger),  # NULL is unpriced; never 0 for unknown
    Column("source", String, nullable=False),
    Column("priced", Boolean, nullable=False),
    Column("estimate_nano", BigInteger),
    Column("overrun", Boolean, nullable=False),
    Column("note", Text, nullable=False),
)

outputs = Table(
    "outputs",
    metadata,
    Column("run_id", ForeignKey("runs.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("name", String, nullable=False),
    Column("status", String, nullable=False),
    Column("reason", Text),
    Column("mime", String),
    Column("inline_text", Text),
    Column("sha256", ForeignKey("artifacts.sha256")),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("mime", String, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("width", Integer),
    Column("height", Integer),
)
