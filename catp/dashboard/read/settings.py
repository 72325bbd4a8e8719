"""What the server runs with: the store and its size, versions, options, telemetry. No token, key or password."""

import os
import platform
import sqlite3
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from catp.dashboard.forms import iso, usd, without_user
from catp.store.database_sqlite import SqliteDatabase
from catp.store.stats import StoreStats, store_stats
from catp.store.store import RunStore
from catp.store.versions import current_version

__all__ = ["sizes", "store_facts", "telemetry", "versions"]

_PACKAGES = ("catp", "sqlalchemy", "fastapi", "uvicorn", "pydantic", "httpx", "opentelemetry-sdk")


def sizes(store: RunStore) -> dict[str, Any]:
    """Return how much the store holds: rows by table, runs by status, files, money, since when."""
    found: StoreStats = store.database.read(store_stats)
    return {
        "rows": dict(sorted(found.rows.items())), "runs": dict(sorted(found.runs.items())),
        "spent_usd": usd(found.spent), "unpriced_rows": found.unpriced, "files": found.files,
        "file_bytes": found.file_bytes,
        "retention": "runs stay until somebody removes them; sums and budgets keep counting those",
        "first": iso(found.first_ns), "last": iso(found.last_ns),
    }  # fmt: skip


def store_facts(store: RunStore) -> dict[str, Any]:
    """Return name, kind, layout version and bytes of the database, None where a server keeps it."""
    database = store.database
    path = database.path if isinstance(database, SqliteDatabase) else None
    return {
        "database": database.name, "kind": "postgresql" if path is None else "sqlite",
        "version": database.read(current_version), "bytes": None if path is None else _bytes(path),
        "artifacts": None if path is None else str(path.parent / "artifacts"),
    }  # fmt: skip


def versions() -> dict[str, str]:
    """Return versions by name."""
    found = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def telemetry(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return where OpenTelemetry of this process goes, as the environment says; headers by name only."""
    given = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    pairs = environment.get("OTEL_EXPORTER_OTLP_HEADERS", "").split(",")
    return {
        "enabled": environment.get("CATP_TELEMETRY", "").lower() in ("1", "true", "yes", "on"),
        "endpoint": None if not given else without_user(given),
        "protocol": environment.get("OTEL_EXPORTER_OTLP_PROTOCOL"),
        "headers": sorted(name for pair in pairs if (name := pair.partition("=")[0].strip())),
        "service": environment.get("OTEL_SERVICE_NAME"), "disabled": environment.get("OTEL_SDK_DISABLED") == "true",
    }  # fmt: skip


def _bytes(path: Path) -> int:
    found = 0
    for file in (path, path.with_name(f"{path.name}-wal")):
        try:
            found += file.stat().st_size
        except OSError:
            continue
    return found
