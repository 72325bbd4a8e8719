"""The guide of the language is true: its plans parse, its JSON is its text, its table of codes is complete."""

import re
from pathlib import Path

from catp.planlang.errors import CODES
from catp.planlang.jsonform import from_json
from catp.planlang.parser import parse

GUIDE = (Path(__file__).parents[2] / "docs" / "planlang.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


def test_plans_parse() -> None:
    assert len(blocks("plan")) >= 5
    for block in blocks("plan"):
        parse(block)


def test_json_example_is_the_text_after_it() -> None:
    (form,) = blocks("json")
    assert from_json(form) == parse(blocks("plan")[-1])


def test_every_code_is_listed_with_its_meaning() -> None:
    listed = dict(re.findall(r"^\| ([EW]\d{3}) \| (.*) \|$", GUIDE, re.MULTILINE))
    assert listed == CODES


def test_python_example_runs() -> None:
    (example,) = blocks("python")
    exec(example, {})
