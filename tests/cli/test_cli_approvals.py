"""`catp run --approve` and `catp runs approve` as people use them: several terminals, restarts, mistakes."""

import json
import os
import pty
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from tests import warm
from tests.warm import environment

BANK = Path(__file__).with_name("bank.py")
STEP = 'in who: text\nfound = look_up(who)\ndone = pay(found) @approve @key(t"pay-{who}")\nout done\n'
WHOLE = f"plan transfer @approve\n{STEP}".replace(" @approve @key", " @key")
TWO = 'a = look_up("a") @approve\nb = look_up("b") @approve\nc = look_up("c")\nout a, b, c\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copy(BANK, tmp_path / "bank.py")
    (tmp_path / "catp.toml").write_text(f'tools = "bank:CATALOGUE"\nstore = "{tmp_path}/runs.db"\nbudget = "0.02"\n')
    for name, text in (("step", STEP), ("whole", WHOLE), ("two", TWO)):
        (tmp_path / f"{name}.plan").write_text(text)
    return tmp_path


def argv(*args: str) -> list[str]:
    return [sys.executable, "-m", "catp.cli", *args]


def catp(folder: Path, *args: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return warm.catp(folder, *args, env=environment(folder, **more))


def run_of(done: "subprocess.CompletedProcess[str]") -> str:
    """The id of the run that waits."""
    assert done.returncode == 7, (done.stdout, done.stderr)
    return str(json.loads(done.stdout)["run"])


def later(folder: Path, plan: str, *more: str) -> str:
    options = () if plan == "two.plan" else ("-i", "who=ada")
    return run_of(catp(folder, "run", plan, *options, "--approve", "later", "--json", *more))


def waiting(folder: Path) -> list[dict[str, Any]]:
    done = catp(folder, "runs", "approve", "--json")
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout)["items"])


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def start(project: Path) -> Iterator[Any]:
    """Starts commands in the background, without a terminal."""
    started: list[subprocess.Popen[str]] = []

    def begin(*args: str) -> "subprocess.Popen[str]":
        started.append(
            subprocess.Popen(
                argv(*args),
                cwd=project,
                env=environment(project),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def asked(project: Path) -> dict[str, Any]:
    """Wait until a run asks something."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with suppress(sqlite3.OperationalError):  # the file, or its table, is not there yet
            with closing(sqlite3.connect(f"file:{project / 'runs.db'}?mode=ro", uri=True)) as raw:
                row = raw.execute("SELECT run_id, step FROM approvals WHERE decision IS NULL").fetchone()
            if row is not None:
                return {"run": row[0], "step": row[1] or None}
        time.sleep(0.05)
    raise AssertionError("nothing was asked")


def test_later_does_what_it_can_says_what_to_do_and_ends_with_7(project: Path) -> None:
    done = catp(project, "run", "step.plan", "-i", "who=ada", "--approve", "later")
    assert done.returncode == 7
    assert "Waiting: $0.001" in done.stdout
    assert "(waiting: `done` waits for approval)" in done.stdout
    (item,) = waiting(project)
    assert f"  catp runs approve {item['run']} --step done\n" in done.stderr
    assert f"  catp runs approve {item['run']} --step done --deny\n" in done.stderr
    assert f"catp runs resume {item['run']}" in done.stderr
    assert (item["step"], item["cap_usd"], item["decision"]) == ("done", "0.02", None)
    assert item["call"]["tools"] == ["pay"]
    assert item["call"]["arguments"] == {"account": "'account of ada'"}
    assert item["call"]["expected"] == "0.005"
    assert len(item["plan_digest"]) == 64
    assert item["expires"] > item["asked"]
    assert not (project / "paid.txt").exists()


def test_the_whole_plan_is_shown_with_its_price_and_nothing_is_called(project: Path) -> None:
    run = later(project, "whole.plan")
    (item,) = waiting(project)
    assert (item["run"], item["step"]) == (run, None)
    assert item["call"]["tools"] == ["look_up", "pay"]
    assert item["call"]["expected"] == "0.006"
    listed = catp(project, "runs", "approve")
    assert "the plan: look_up, pay with who='ada', about $0.006, at most $0.02" in listed.stdout
    assert not (project / "looked.txt").exists()


@pytest.mark.parametrize("demand", ["flag", "environment", "file"])
def test_every_plan_can_be_made_to_ask(project: Path, demand: str) -> None:
    if demand == "file":
        with (project / "catp.toml").open("a") as file:
            file.write("approve_plan = true\n")
    (project / "plain.plan").write_text(STEP.replace(" @approve", ""))
    flags = ("--approve-plan",) if demand == "flag" else ()
    more = {"CATP_APPROVE_PLAN": "yes"} if demand == "environment" else {}
    done = catp(project, "run", "plain.plan", "-i", "who=ada", "--approve", "later", *flags, **more)
    assert done.returncode == 7, done.stderr
    assert "plan plain @approve" in done.stdout
    assert [item["step"] for item in waiting(project)] == [None]
    assert not (project / "looked.txt").exists()


@pytest.mark.parametrize(("said", "code"), [((), 0), (("--deny",), 4)])
def test_a_process_without_a_terminal_waits_for_another(
    project: Path, start: Any, said: tuple[str, ...], code: int
) -> None:
    process = start("run", "step.plan", "-i", "who=ada")
    run = asked(project)["run"]
    done = catp(project, "runs", "approve", run[-6:], "--by", "grace", *said)
    assert done.returncode == 0, done.stderr
    assert f"step done of run {run}: {'denied' if said else 'granted'} by grace" in done.stdout
    assert "the run is going on by itself" in done.stdout
    _, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert f"step done: {'denied' if said else 'granted'} by grace" in err
    assert lines(project / "paid.txt") == ([] if said else ["account of ada"])


def test_the_second_who_decides_is_told_who_was_first(project: Path) -> None:
    run = later(project, "step.plan")
    first = catp(project, "runs", "approve", run, "--step", "done", "--by", "grace", "--expires", "1h", "--json")
    decided = json.loads(first.stdout)
    assert (decided["decision"], decided["by"], decided["run_status"]) == ("granted", "grace", "waiting")
    for again in (("--step", "done", "--deny"), ()):
        second = catp(project, "runs", "approve", run, *again)
        assert second.returncode == 1
        assert "step done" in second.stderr
        assert "granted by grace" in second.stderr
    shown = catp(project, "runs", "show", run)
    assert "Approvals" in shown.stdout
    assert "granted  by grace  step done: pay(account='account of ada'), about $0.005" in shown.stdout
    (kept,) = json.loads(catp(project, "runs", "show", run, "--json").stdout)["approvals"]
    assert kept == {key: value for key, value in decided.items() if key not in ("schema", "run_status")}


def test_mistakes_are_told_with_what_to_do(project: Path) -> None:
    run = later(project, "two.plan")
    several = catp(project, "runs", "approve", run)
    assert several.returncode == 2
    assert f"catp runs approve {run} --step a" in several.stderr
    assert f"catp runs approve {run} --step b" in several.stderr
    other = catp(project, "runs", "approve", run, "--step", "c")
    assert other.returncode == 1
    assert "is not asked about step c; it is asked about a, b" in other.stderr
    one = catp(project, "runs", "approve", run, "--step", "a")
    assert f"still waits: catp runs approve {run} --step b" in one.stdout
    for args, code, words in (
        (("runs", "approve", "nothere"), 2, "no run 'nothere'"),
        (("runs", "approve", run, "--expires", "soon"), 2, "such as 30m or 1h"),
        (("runs", "approve", run, "--expires", "0s"), 2, "more than no time"),
        (("runs", "approve", run, "--store", str(project)), 6, str(project)),
        (("run", "two.plan", "--approve", "later", "--no-save"), 2, "cannot go on later"),
        (("run", "two.plan", "--approve", "perhaps"), 2, "ask, later, auto or never"),
    ):
        done = catp(project, *args)
        assert (done.returncode, words in done.stderr) == (code, True), (args, done.stderr)
    unsaved = catp(project, "run", "two.plan", "--no-save")
    assert unsaved.returncode == 4
    assert "a run that is not saved cannot be approved from elsewhere" in unsaved.stderr


def test_a_damaged_question_is_not_answered(project: Path) -> None:
    run = later(project, "step.plan")
    with closing(sqlite3.connect(project / "runs.db")) as raw:
        raw.execute("UPDATE approvals SET detail_json = '{\"tools\": ['")
        raw.commit()
    done = catp(project, "runs", "approve", run)
    assert done.returncode == 1
    assert "is damaged: what would be called cannot be read" in done.stderr
    assert waiting(project)[0]["problem"]


def test_a_question_that_has_expired_is_not_answered(project: Path) -> None:
    run = later(project, "step.plan")
    with closing(sqlite3.connect(project / "runs.db")) as raw:
        raw.execute("UPDATE approvals SET expires_ns = 5")
        raw.commit()
    assert waiting(project) == []
    done = catp(project, "runs", "approve", run, "--step", "done")
    assert done.returncode == 1
    assert "has expired" in done.stderr
    assert f"catp runs resume {run}" in done.stderr


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other end is closed
        return b""


@pytest.mark.parametrize("decides", ["here", "elsewhere"])
def test_at_a_terminal_either_the_person_or_somebody_elsewhere_decides(project: Path, decides: str) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(project)
        command = argv("run", "whole.plan", "-i", "who=ada")
        os.execve(command[0], command, environment(project, TERM="xterm", COLUMNS="300"))
    seen = b""
    try:
        while b"[y/N] " not in seen:
            chunk = read(terminal)
            assert chunk, seen
            seen += chunk
        assert b"approve the plan: look_up, pay with who='ada', about $0.006, at most $0.02? [y/N]" in seen
        if decides == "here":
            os.write(terminal, b"y\n")
        else:
            assert catp(project, "runs", "approve", asked(project)["run"], "--by", "grace").returncode == 0
        while chunk := read(terminal):
            seen += chunk
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0, seen
    assert (b"plan: granted by grace" in seen) is (decides == "elsewhere")
    assert lines(project / "paid.txt") == ["account of ada"]


# --- after a restart ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("plan", "step"), [("step.plan", ("--step", "done")), ("whole.plan", ())])
def test_a_run_that_waits_goes_on_after_a_restart_and_pays_nothing_twice(
    project: Path, plan: str, step: tuple[str, ...]
) -> None:
    run = later(project, plan)
    again = catp(project, "runs", "resume", run, "--approve", "later", "--json")
    assert run_of(again) == run
    assert len(waiting(project)) == 1
    assert catp(project, "runs", "approve", run, *step).returncode == 0
    done = catp(project, "runs", "resume", run, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["spent_usd"] == "0.006"
    assert lines(project / "looked.txt") == ["ada"]
    assert lines(project / "paid.txt") == ["account of ada"]
    ledger = json.loads(catp(project, "runs", "show", run, "--json").stdout)["ledger"]
    assert [(row["step"], row["amount_usd"]) for row in ledger] == [("found", "0.001"), ("done", "0.005")]


def test_a_larger_budget_is_asked_about_again_and_a_denial_ends_the_run(project: Path) -> None:
    run = later(project, "step.plan")
    assert catp(project, "runs", "approve", run).returncode == 0
    raised = catp(project, "runs", "resume", run, "--budget", "0.05", "--approve", "later", "--json")
    assert run_of(raised) == run
    assert [item["cap_usd"] for item in waiting(project)] == ["0.05"]
    assert catp(project, "runs", "approve", run, "--deny").returncode == 0
    done = catp(project, "runs", "resume", run, "--budget", "0.05")
    assert done.returncode == 4, done.stderr
    assert not (project / "paid.txt").exists()


def test_a_waiting_process_that_is_killed_loses_nothing(project: Path, start: Any) -> None:
    process = start("run", "step.plan", "-i", "who=ada")
    run = asked(project)["run"]
    process.kill()
    process.wait()
    done = catp(project, "runs", "approve", run)
    assert f"go on with: catp runs resume {run}" in done.stdout
    assert catp(project, "runs", "resume", run).returncode == 0
    assert lines(project / "looked.txt") == ["ada"]
    assert lines(project / "paid.txt") == ["account of ada"]
