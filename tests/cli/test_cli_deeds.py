"""What commands change is in the audit trail, beside what was changed through the dashboard; what only looks is not."""

import json
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from catp.approvals import user
from catp.store import deeds
from catp.store.store import RunStore
from tests import warm

BANK = Path(__file__).with_name("bank.py")
PLAN = 'in who: text\nfound = look_up(who)\ndone = pay(found) @approve @key(t"pay-{who}")\nout done\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copy(BANK, tmp_path / "bank.py")
    (tmp_path / "catp.toml").write_text(f'tools = "bank:CATALOGUE"\nstore = "{tmp_path}/runs.db"\n')
    (tmp_path / "pay.plan").write_text(PLAN)
    return tmp_path


def catp(folder: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    return warm.catp(folder, *args, env=warm.environment(folder))


def ok(folder: Path, *args: str) -> None:
    done = catp(folder, *args)
    assert done.returncode == 0, done.stderr


def waits(folder: Path) -> str:
    done = catp(folder, "run", "pay.plan", "-i", "who=ada", "--approve", "later", "--json")
    assert done.returncode == 7, done.stderr
    return str(json.loads(done.stdout)["run"])


def trail(folder: Path) -> list[tuple[str, str, dict[str, Any]]]:
    """Action, target and detail of every deed, the oldest first; all by this user at the command line."""
    store = RunStore(folder / "runs.db")
    found = store.database.read(partial(deeds.latest, limit=100))
    store.close()
    assert {deed.actor for deed in found} == {f"{user()} (cli)"}
    return [(deed.action, deed.target, dict(deed.detail)) for deed in reversed(found)]


def test_what_commands_change_is_in_the_audit_trail(project: Path) -> None:
    first, second, third = waits(project), waits(project), waits(project)
    ok(project, "runs", "approve", first, "--by", "ada", "--reason", "known")
    ok(project, "runs", "approve", second, "--deny")
    ok(project, "runs", "score", first[-8:], "0.5")
    ok(project, "runs", "score", first, "0.75", "--note", "better")
    assert catp(project, "runs", "cancel", third, "--reason", "enough").returncode in (0, 1)
    ok(project, "budgets", "set", "project:default", "5", "--per", "day")
    ok(project, "budgets", "set", "project:default", "7", "--per", "day", "--warn", "50%")
    ok(project, "budgets", "set", "project:default", "9")
    ok(project, "budgets", "remove", "project:default")
    ok(project, "db", "prune", "--older-than", "1d", "--dry-run")
    ok(project, "db", "prune", "--older-than", "1d", "--keep", "2")
    for looks in (("runs", "show", first), ("budgets", "list"), ("runs", "approve")):
        ok(project, *looks)
    assert catp(project, "budgets", "remove", "project:default").returncode != 0
    assert catp(project, "runs", "score", "nothing", "0.5").returncode == 2
    found = trail(project)
    assert found[:5] == [
        ("run.approve", first, {"reason": "known", "node": "done", "by": "ada"}),
        ("run.reject", second, {"reason": "", "node": "done", "by": user()}),
        ("run.score", first, {"value": 0.5, "before": None, "note": ""}),
        ("run.score", first, {"value": 0.75, "before": 0.5, "note": "better"}),
        ("run.cancel", third, {"reason": "enough"}),
    ]
    assert [(action, detail) for action, _, detail in found[5:8]] == [
        ("budget.set", {"warn": [0.8, 1.0], "limit": "5.00", "before": None}),
        ("budget.set", {"warn": [0.5], "limit": "7.00", "before": "5.00"}),
        ("budget.set", {"warn": [0.8, 1.0], "limit": "9.00", "before": None}),
    ]
    removed = sorted((detail["limit"], action) for action, _, detail in found[8:10])
    assert removed == [("7.00", "budget.remove"), ("9.00", "budget.remove")]
    assert found[5][1] == found[6][1] != found[7][1]
    assert found[10:] == [
        ("prune", "runs older than 1d", {"project": None, "keep": 2, "runs": 0, "events": 0, "files": 0})
    ]
