"""Stores to test on: a SQLite file, and a database of a PostgreSQL server that is started for the session."""

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from catp.store.store import RunStore


def _binaries() -> Path | None:
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((place for place in reversed(places) if (place / "initdb").exists()), None)


def _server_user() -> str | None:
    """Who runs the server: the server refuses root."""
    if os.getuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Path]:
    """The folder of the socket of a running server without any network port and without fsync."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server: neither `initdb` nor /usr/lib/postgresql/*/bin; apt-get install postgresql")
    user = _server_user()
    as_user: dict[str, Any] = {} if user is None else {"user": user, "group": pwd.getpwnam(user).pw_gid}
    folder = Path(tempfile.mkdtemp(prefix="catp-postgres-", dir="/tmp"))
    if user is not None:
        shutil.chown(folder, user)
    data = folder / "data"
    made = subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "catp", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"],
        cwd=folder, capture_output=True, text=True, check=False, **as_user,
    )  # fmt: skip
    if made.returncode:
        pytest.skip(f"initdb failed: {made.stderr.strip()[-500:]}")
    options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off -c max_connections=200"
    control: list[str | Path] = [binaries / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options]
    started = subprocess.run([*control, "start"], cwd=folder, capture_output=True, text=True, check=False, **as_user)
    if started.returncode:
        pytest.skip(f"PostgreSQL does not start: {(folder / 'log').read_text()[-500:]}")
    yield folder
    subprocess.run(
        [binaries / "pg_ctl", "-D", data, "-m", "immediate", "stop"], cwd=folder, capture_output=True, check=False,
        **as_user,
    )  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)


def fresh_database(server: Path) -> str:
    """The URL of a new, empty database."""
    import asyncpg

    name = f"t{uuid4().hex[:12]}"

    async def create() -> None:
        connection = await asyncpg.connect(host=str(server), user="catp", database="postgres")
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()

    asyncio.run(create())
    return f"postgresql://catp@/{name}?host={server}"


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A path or URL of a store that does not exist yet."""
    if request.param == "sqlite":
        return tmp_path / "deep" / "runs.db"
    return fresh_database(request.getfixturevalue("postgres_server"))


@pytest.fixture
def store(target: Path | str) -> Iterator[RunStore]:
    opened = RunStore(target, busy_s=5.0)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[RunStore]:
    opened = RunStore(tmp_path / "runs.db", busy_s=5.0)
    yield opened
    opened.close()
