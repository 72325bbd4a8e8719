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


_KEEPER = """
"$1" -D data -w -l log -o "$2" start >/dev/null && echo up && read -r _
"$1" -D data -m immediate stop >/dev/null
cd / && rm -rf "$3"
"""
"""Keeps the server until its standard input is closed: also when the tests are killed, no server is left behind."""


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
    keeper = subprocess.Popen(
        ["sh", "-c", _KEEPER, "keeper", binaries / "pg_ctl", options, folder],
        cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True, **as_user,
    )  # fmt: skip
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    if keeper.stdout.readline() != "up\n":
        log = folder / "log"
        pytest.skip(f"PostgreSQL does not start: {log.read_text()[-500:] if log.exists() else 'no log'}")
    yield folder
    keeper.stdin.close()
    keeper.wait(30)
    keeper.stdout.close()


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
