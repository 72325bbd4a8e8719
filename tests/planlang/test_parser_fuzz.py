"""No input raises anything but PlanError, and none takes more than linear work."""

import json
import re
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.planlang.errors import CODES, PlanError
from catp.planlang.jsonform import from_json, to_json
from catp.planlang.lexer import MAX_BYTES
from catp.planlang.parser import MAX_PROBLEMS, parse
from catp.planlang.printer import to_text
from catp.planlang.testing import mutate, random_plan


def attempt(read: Callable[[Any], Any], source: Any) -> PlanError | None:
    """Read `source`; the error must be usable: known codes, spans inside the text, renderable."""
    try:
        read(source)
    except PlanError as error:
        check_usable(error)
        return error
    return None


def check_usable(error: PlanError) -> None:
    assert 0 < len(error.diagnostics) <= MAX_PROBLEMS
    assert str(error)
    lines = (error.source or "").split("\n")
    for problem in error.diagnostics:
        assert problem.code in CODES
        assert problem.message
        json.dumps(problem.to_json())
        span = problem.span
        if span is not None and error.source is not None:
            assert 1 <= span.line <= len(lines)
            assert 1 <= span.column <= len(lines[span.line - 1]) + 1
            assert (span.end_line, span.end_column) > (span.line, span.column)


@settings(deadline=None, max_examples=400)
@given(st.text(st.characters(), max_size=200))
def test_any_text(text: str) -> None:
    attempt(parse, text)
    attempt(from_json, text)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    attempt(parse, data)
    attempt(from_json, data)


ALPHABET = 'ab in out if t{}[]()"\\|@.,:=?#$019sm<>!\n-eA'


@settings(deadline=None, max_examples=500)
@given(st.text(st.sampled_from(ALPHABET), max_size=80))
def test_text_made_of_what_plans_are_made_of(text: str) -> None:
    attempt(parse, text)
    attempt(parse, f"a = f({text}")


def test_mutated_plans_and_mutated_bytes() -> None:
    rng = Random(3)
    for _ in range(800):
        text = mutate(to_text(random_plan(rng)), rng, to_text(random_plan(rng)))
        attempt(parse, text)
        data = bytearray(text.encode("utf-8", "surrogatepass"))
        if data:
            data[rng.randrange(len(data))] = rng.randrange(256)
        attempt(parse, bytes(data))


def test_mutated_json_text() -> None:
    rng = Random(4)
    for _ in range(800):
        attempt(from_json, mutate(json.dumps(to_json(random_plan(rng))), rng, '{"ref": "a", "list": [NaN, 1e999]}'))


@pytest.mark.parametrize(
    "source", [None, 3, [], object(), ["in a: text"], "a = f(x".encode("utf-16"), b"\xff", b"\xc3("]
)
def test_what_is_no_text_is_refused(source: Any) -> None:
    assert attempt(parse, source) is not None
    assert attempt(from_json, source) is not None


REPEATED = [
    ("", "(", ""), ("", "[", ""), ("a = f(", "[", ""), ("", ")", ""), ("", "]}", ""), ("", '"', ""),
    ("", "'", ""), ("", '"a', ""), ('"', "a", ""), ('t"', "{", ""), ('t"', "{a", ""), ('t"', "}", '"'),
    ('t"', "{a}", '"'), ('"', "\\", ""), ('"', '\\"', ""), ("", "\n", ""), ("", "\r", ""), ("", "\r\n", ""),
    ("", " ", ""), ("", "\t\n", ""), ("", "a=", ""), ("", "a=\n", ""), ("", "a=(\n", ""), ("", "a=f(\n", ""),
    ("a=(1\n" * 60, "b=1\n", ""), ("", "|", ""), ("", "@", ""), ("", ".", ""), ("", "a", ""), ("", "a.", ""),
    ("", "9", ""), ("", "-", ""), ("", "1e", ""), ("", "$", ""), ("", "#", ""), ("", "# \u202e\n", ""),
    ("", "\u00a0", ""), ("", "\u202e", ""), ("", "\x00", ""), ("a = f(", "x, ", ")"), ("", "a = f(x)\n", ""),
    ("out ", "a, ", ""), ("in a: ", "list[", ""), ("a = f(", "x[", ""), ("a = f(", "9", ")"),
    ("a = f(0.", "9", ")"), ("a = f(x)", "| g(x)", ""), ("a = f(x)", "@b ", ""), ("limit ", "calls 1,", ""),
]  # fmt: skip


def repeated(start: str, piece: str, end: str, size: int) -> str:
    return f"{start}{piece * ((size - len(start) - len(end)) // len(piece.encode()))}{end}"


@pytest.mark.parametrize(("start", "piece", "end"), REPEATED)
def test_long_repetitions(start: str, piece: str, end: str) -> None:
    # One that took quadratic time would run into the suite's time limit.
    attempt(parse, repeated(start, piece, end, 50_000))


@pytest.mark.slow
@pytest.mark.parametrize(("start", "piece", "end"), REPEATED[4::22])
def test_megabytes(start: str, piece: str, end: str) -> None:
    attempt(parse, repeated(start, piece, end, MAX_BYTES))


def test_a_hundred_thousand_brackets() -> None:
    error = attempt(parse, f"a = f({'[' * 100_000}{']' * 100_000})")
    assert error is not None
    assert [problem.code for problem in error.diagnostics] == ["E006"]


def test_a_source_over_the_limit_is_refused_unread() -> None:
    for source in ("\n" * (MAX_BYTES + 1), b"\n" * (MAX_BYTES + 1), "é" * (MAX_BYTES // 2 + 1)):
        error = attempt(parse, source)
        assert error is not None
        assert [problem.code for problem in error.diagnostics] == ["E006"]


def hostile_json() -> Iterator[Any]:
    deep: Any = 1
    for _ in range(100_000):
        deep = {"list": [deep]}
    knot: dict[str, Any] = {}
    knot["list"] = [knot]
    loop: list[Any] = []
    loop.append(loop)
    values = [
        deep,
        knot,
        loop,
        float("nan"),
        float("-inf"),
        10**5_000,
        -(10**5_000),
        b"x",
        (1, 2),
        {1, 2},
        object(),
        1j,
        "\ud800",
    ]
    for value in values:
        args = [{"value": value}]
        yield {
            "planlang": 1,
            "steps": [{"name": "a", "try": [{"tool": "f", "args": args}]}],
            "outputs": [],
        }
        yield {
            "planlang": value,
            "steps": value,
            "outputs": value,
            "inputs": value,
            "limits": value,
            "name": value,
            "doc": value,
        }
        yield {
            "planlang": 1,
            "steps": [value],
            "outputs": [value],
            "inputs": [value],
            "limits": {"calls": value, "cost": value},
        }
        yield {"planlang": 1, "steps": [], "outputs": [], "inputs": [{"name": value, "type": value, "default": value}]}
    for key in (1, None, True, b"x", ("a",), "\ud800", "a" * 100_000):
        yield {"planlang": 1, "steps": [], "outputs": [], key: 1}
        yield {
            "planlang": 1,
            "steps": [],
            "outputs": [],
            "inputs": [{"name": "a", "type": "any", "default": {"object": {key: [1]}}}],
        }


def test_hostile_json_values() -> None:
    for form in hostile_json():
        assert attempt(from_json, form) is not None


@pytest.mark.parametrize(
    "text",
    [
        "[" * 500_000,
        '{"a":' * 150_000,
        "9" * 1_000_000,
        '"' * 1_000_000,
        '{"planlang": NaN}',
        '{"planlang": 1e999}',
        "[1," * 300_000,
    ],
    ids=lambda text: f"{text[:8]!r}",
)
def test_hostile_json_text(text: str) -> None:
    assert attempt(from_json, text) is not None


def test_depth_is_limited_the_same_in_text_and_json() -> None:
    for depth, accepted in ((63, True), (64, False)):
        text = f"a = f({'[' * depth}{']' * depth})\n"
        form: dict[str, Any] = {"list": []}
        for _ in range(depth - 1):
            form = {"list": [form]}
        source = {
            "planlang": 1,
            "steps": [{"name": "a", "try": [{"tool": "f", "args": [{"value": form}]}]}],
            "outputs": [],
        }
        errors = attempt(parse, text), attempt(from_json, source)
        assert [error is None for error in errors] == [accepted, accepted]
        if accepted:
            assert from_json(source) == parse(text)
        else:
            assert all(error is not None and re.search("E006", str(error)) for error in errors)
