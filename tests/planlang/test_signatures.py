"""Registries written as text."""

import pytest

from catp.planlang.nodes import Literal
from catp.planlang.registry_view import Param
from catp.planlang.signatures import parse_registry
from catp.planlang.types import Type, parse_type


def test_types_tools_defaults_and_choices_are_read() -> None:
    registry = parse_registry("""
    # a comment
    type Answer(text: text, parts: list[text])
    type Short(Answer)(words: int)   # a special case
    ask(question: text, context: list[text] = ..., top: int = 5) -> Answer
    scale(photo: image, mode: "fast" | "fine" = "fast", size: number?) -> image?
    write ns.send(body: json = {"a": [1, null]}) -> bool
    now() -> text
    """)
    assert [str(tool) for tool in registry] == [
        "ask(question: text, context: list[text] = ..., top: int = ...) -> Answer",
        "scale(photo: image, mode: text = ..., size: number?) -> image?",
        "ns.send(body: json = ...) -> bool",
        "now() -> text",
    ]
    assert registry.types.fields(Type("Short")) == (
        ("text", Type("text")), ("parts", parse_type("list[text]")), ("words", Type("int")),
    )  # fmt: skip
    ask, scale, send = (registry.get(name) for name in ("ask", "scale", "ns.send"))
    assert ask is not None
    assert scale is not None
    assert send is not None
    assert ask.params[1:] == (
        Param("context", parse_type("list[text]"), False),
        Param("top", Type("int"), False, Literal(5)),
    )
    assert scale.params[1] == Param("mode", Type("text"), False, Literal("fast"), ("fast", "fine"))
    assert (ask.effects, send.effects) == ("pure", "write")


def test_a_printed_signature_reads_back() -> None:
    line = "ask(question: text, context: list[text] = ...) -> text"
    assert str(parse_registry(line).tools[0]) == line


@pytest.mark.parametrize(
    "line",
    ["ask(", "ask(q) -> text", "ask(q: ) -> text", "ask(q: text r: text) -> text", "ask(q: text = ) -> text",
     "type A(text)", "type A(B)(x: text)", "ask(q: lst[text]) -> text", "delete ask(q: text) -> text"],
)  # fmt: skip
def test_a_line_that_is_not_understood_is_named(line: str) -> None:
    with pytest.raises(ValueError, match="line 2: "):
        parse_registry(f"now() -> text\n{line}")
