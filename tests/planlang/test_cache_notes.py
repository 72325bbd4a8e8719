"""`@cache` where it cannot be meant is found before anything runs."""

import pytest

from catp.planlang.check import check
from catp.planlang.nodes import ToolName
from catp.planlang.parser import parse
from catp.planlang.registry_view import Param, RegistryView, ToolSig
from catp.planlang.types import Type

TEXT = Type("text")
REGISTRY = RegistryView(
    tuple(
        ToolSig(ToolName(name), (Param("q", TEXT),), TEXT, effects)  # type: ignore[arg-type]
        for name, effects in (("sum", "pure"), ("look", "read"), ("post", "write"))
    )
)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("sum(q) @cache", None),
        ("sum(q) @cache(10m)", None),
        ("look(q) @cache(10m)", None),
        ("look(q) @cache(off)", None),
        ("post(q) @cache(off)", None),
        ("look(q) @cache", "what `a` reads may change, so `@cache` needs a time"),
        ("sum(q) | look(q) @cache", "what `a` reads may change, so `@cache` needs a time"),
        ("post(q) @cache(10m)", "`@cache` would leave out what `a` writes"),
        ("sum(q) | post(q) @cache", "`@cache` would leave out what `a` writes"),
    ],
)
def test_cache_notes_fit_what_the_step_does(step: str, message: str | None) -> None:
    found = check(parse(f"in q: text\na = {step}\nout a"), REGISTRY).errors
    assert [(d.code, d.message, d.span and d.span.line) for d in found] == ([("E112", message, 2)] if message else [])
