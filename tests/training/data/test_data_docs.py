"""docs/data.md shows what the commands print, names every field and every rule."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from catp.cli.main import app
from catp.training.data.trajectory import Trajectory
from catp.training.data.validate import RULES

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "data.md").read_text(encoding="utf-8")


def test_the_examples_run_and_print_what_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)
    monkeypatch.chdir(tmp_path)
    (session,) = re.findall(r"```console\n(.*?)```", PAGE, flags=re.DOTALL)
    printed = ""
    for line in session.splitlines():
        if line.startswith("$ catp "):
            done = CliRunner().invoke(app, line.removeprefix("$ catp ").split(), env={"NO_COLOR": "1"})
            printed += f"{line}\n{done.stdout}"
        elif line.startswith("$ "):
            subprocess.run(line.removeprefix("$ "), shell=True, check=True, timeout=60)
            printed += f"{line}\n"
    assert printed == session


def test_every_rule_is_listed() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE.split("## What the validator checks")[1], flags=re.MULTILINE)
    assert dict(rows) == RULES


def names(model: type[BaseModel]) -> set[str]:
    found: set[str] = set()
    for name, info in model.model_fields.items():
        found.add(info.alias or name)
        for part in parts(info.annotation):
            found |= names(part)
    return found


def parts(annotation: Any) -> list[type[BaseModel]]:
    own = [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []
    return own + [model for arg in get_args(annotation) for model in parts(arg)]


def test_every_field_is_described() -> None:
    table = PAGE.split("## Fields")[1].split("## What the validator checks")[0]
    told = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]*)`", table))))
    assert names(Trajectory) - told == set()
