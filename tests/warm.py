"""`catp` in a process of its own, forked from one that has imported it: a start costs milliseconds, not a second.

What a command is to its caller stays real: own process, working directory, environment, streams, exit code, children.
Only the imports are shared, so what they cost and load is tested elsewhere, with `python -m catp.cli`. Warnings are
errors, as in every test.

    test ── request, stdin, stdout, stderr, status ──> server ── fork ──> keeper ── fork ──> command
         <───────────────── pid, exit code ────────────────────────────────┘
"""

import atexit
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["catp", "environment"]

PRELOADED = (
    "asyncio", "numpy", "pydantic.type_adapter", "rich.live", "rich.table", "catp.agent", "catp.cli.budgets",
    "catp.cli.cache", "catp.cli.plan", "catp.cli.runs", "catp.cli.runs_approve", "catp.cli.runs_cancel",
    "catp.cli.runs_export", "catp.cli.runs_replay", "catp.cli.runs_resume", "catp.cli.runs_score", "catp.cli.tools",
    "catp.cli.tools_calibrate", "catp.planlang.importers", "catp.planlang.tokens", "catp.planners.search",
    "catp.store.store", "catp.tools.builtin",
)  # fmt: skip


def catp(
    cwd: Path, *args: str, env: Mapping[str, str], stdin: str = "", timeout: float = 60
) -> "subprocess.CompletedProcess[str]":
    """Run `catp ARGS` in `cwd` to its end, as `subprocess.run` would.

    Raises:
        subprocess.TimeoutExpired: it was killed after `timeout` seconds.
    """
    request = json.dumps({"args": args, "cwd": str(cwd), "env": dict(env)}).encode()
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin.encode())
        given.seek(0)
        status, told = os.pipe()
        with open(status, "rb") as answer:
            socket.send_fds(_server(), [request], [given.fileno(), out.fileno(), err.fileno(), told])
            os.close(told)
            pid = int(answer.readline())
            if not select.select([answer], [], [], timeout)[0]:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(["catp", *args], timeout)
            code = int(answer.readline())
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(["catp", *args], code, out.read().decode(), err.read().decode())


def environment(folder: Path, **more: str) -> dict[str, str]:
    """What a command is given: of the settings of whoever runs the tests only the planner; `folder` holds its data."""
    kept = {key: value for key, value in os.environ.items() if key == "CATP_PLANNER" or not key.startswith("CATP_")}
    places = {"XDG_DATA_HOME": str(folder / "data"), "XDG_CONFIG_HOME": str(folder / "config"), "NO_COLOR": "1"}
    return {**kept, **places, **more}


@cache
def _server() -> socket.socket:
    """One for each process that runs tests; it ends when this end of the socket closes."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, str(Path(__file__)), str(theirs.fileno())]
    process = subprocess.Popen(
        command,
        pass_fds=[theirs.fileno()],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # a process of one thread can be forked
        start_new_session=True,  # Ctrl-C is for whoever runs the tests
    )
    theirs.close()
    atexit.register(process.wait)
    atexit.register(ours.close)  # called before the wait
    return ours


def _serve(ours: socket.socket) -> None:
    """Fork for each request until the other end closes."""
    for name in PRELOADED:
        __import__(name)
    while True:
        request, descriptors, _, _ = socket.recv_fds(ours, 1 << 20, 4)
        if not request:
            return
        if os.fork() == 0:
            ours.close()
            _keep(json.loads(request), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        with suppress(ChildProcessError):  # there are none
            while os.waitpid(-1, os.WNOHANG)[0]:  # keepers that have ended
                pass


def _keep(request: dict[str, Any], stdin: int, stdout: int, stderr: int, told: int) -> None:
    """Fork the command; tell its number, and how it ended."""
    pid = os.fork()
    if pid == 0:
        os.close(told)
        _become(request, stdin, stdout, stderr)
    os.write(told, b"%d\n" % pid)
    _, status = os.waitpid(pid, 0)
    os.write(told, b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _become(request: dict[str, Any], stdin: int, stdout: int, stderr: int) -> NoReturn:
    """What `python -W error -m catp.cli ARGS` is when its imports are done."""
    for standard, given in enumerate((stdin, stdout, stderr)):
        os.dup2(given, standard)
        os.close(given)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding="utf-8", closefd=False)  # noqa: SIM115
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path[:0] = [request["cwd"], *filter(None, request["env"].get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv[1:] = request["args"]
    warnings.simplefilter("error")
    runpy.run_module("catp.cli", run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    sys.path.pop(0)  # this folder
    _serve(socket.socket(fileno=int(sys.argv[1])))
