"""What is to be run, as the command line says it: a task or a plan file, inputs, wanted outputs."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catp.cli.output import EXIT_USAGE, fail

if TYPE_CHECKING:
    from catp.planlang.nodes import Plan

__all__ = ["parse_wanted", "read_cli_inputs", "read_plan_file"]


def read_cli_inputs(options: list[str]) -> dict[str, Any]:
    """Read `--input` options; a bad one ends the command with exit code 2."""
    from catp.inputs import InputError, read_inputs

    try:
        return read_inputs(options)
    except InputError as error:
        fail(str(error), EXIT_USAGE)


def parse_wanted(options: list[str]) -> dict[str, str] | None:
    """Turn `--want NAME=TYPE` options into a mapping; None if there are none."""
    pairs = [option.partition("=") for option in options]
    for name, separator, type_ in pairs:
        if not separator or not name.isidentifier() or not type_:
            fail(f"--want {name + separator + type_!r}: write NAME=TYPE, such as language=Language", EXIT_USAGE)
    return {name: type_ for name, _, type_ in pairs} or None


def read_plan_file(task: str) -> "Plan | None":
    """Return the plan if `task` names a plan file (`-` for stdin), or None if it is a task in words."""
    if not task.strip():
        fail("the task is empty", EXIT_USAGE, help="say what to do, or name a plan file")
    path = Path("stdin.plan" if task == "-" else task)
    if path.suffix not in (".plan", ".json") or "\n" in task:
        return None
    from catp.cli.output import read_source
    from catp.planlang.errors import PlanError
    from catp.planlang.jsonform import from_json
    from catp.planlang.parser import parse

    source = read_source(task)
    try:
        plan = from_json(source) if path.suffix == ".json" else parse(source)
    except PlanError as error:
        from catp.cli.plan import refuse

        refuse(task, error)
    return plan if plan.name is not None else replace(plan, name=_plan_name(path.stem))


def _plan_name(stem: str) -> str | None:
    """A file's name as the plan's, so that the list of runs says what ran; None if it cannot be one."""
    from catp.planlang.lexer import KEYWORDS

    name = "".join(c if c.isascii() and c.isalnum() else "_" for c in stem.lower()).strip("_")
    return name if name[:1].isalpha() and name not in KEYWORDS else None
