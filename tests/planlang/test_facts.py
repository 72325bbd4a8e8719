"""What is known of values on their way through fields, elements, lists and templates."""

import pytest

from catp.planlang.nodes import Output, Ref
from catp.planlang.parser import parse
from catp.planlang.passes.facts import facts_of
from catp.planlang.registry_view import Size, ValueFacts
from catp.planlang.signatures import parse_registry
from catp.planlang.types import parse_type

TYPES = parse_registry("""
type Reading(text: text, confidence: number, lines: list[text])
ocr(page: image) -> Reading
""").types

KNOWN = {
    "one": ValueFacts(parse_type("Reading"), Size(250), "noisy"),
    "many": ValueFacts(parse_type("list[Reading]"), Size(250, 4), "noisy"),
    "books": ValueFacts(parse_type("list[list[Reading]]"), Size(250, 4), "noisy"),
}


def ref(text: str) -> Ref:
    (output,) = parse(f"in one: text\nin many: text\nin books: text\nout x = {text}").outputs
    assert isinstance(output, Output)
    return output.ref


@pytest.mark.parametrize(
    ("path", "type_", "size"),
    [
        ("one.text", "text", Size(250)),
        ("one.confidence", "number", Size(1)),
        ("one.lines", "list[text]", Size(250, 10)),
        ("many.text", "list[text]", Size(250, 4)),
        ("many.text[0]", "text", Size(250)),
        ("many[0].text", "text", Size(250)),
        ("many.confidence", "list[number]", Size(1, 4)),
        ("many.lines", "list[list[text]]", Size(250, 4)),
        ("many.lines[0]", "list[text]", Size(250, 10)),
        ("books.text", "list[list[text]]", Size(250, 4)),
        ("books[0].text", "list[text]", Size(250, 10)),
        ("books.text[0]", "list[text]", Size(250, 10)),
    ],
)
def test_fields_and_elements_keep_size_count_and_condition(path: str, type_: str, size: Size) -> None:
    assert facts_of(ref(path), KNOWN, TYPES, 10) == ValueFacts(parse_type(type_), size, "noisy")
