"""What a person reads when a plan is wrong: message, place, caret and help, exactly.

`messages.txt` holds one case a block: the source as a Python literal, then the rendered problems. After a deliberate
change of wording, `python tests/planlang/test_parser_errors.py` writes it anew; read the difference before committing.
"""

import ast
from pathlib import Path

import pytest

from catp.planlang.errors import PlanError
from catp.planlang.parser import MAX_PROBLEMS, parse
from catp.planlang.statements import MAX_DEPTH

MESSAGES = Path(__file__).parent / "messages.txt"


def cases() -> list[tuple[str, str]]:
    blocks = MESSAGES.read_text(encoding="utf-8").split("\n\n=== ")
    return [(ast.literal_eval(source), shown) for source, _, shown in (b.strip("= \n").partition("\n") for b in blocks)]


def shown(source: str) -> str:
    with pytest.raises(PlanError) as caught:
        parse(source)
    return str(caught.value)


@pytest.mark.parametrize(("source", "expected"), cases(), ids=lambda text: repr(text)[:40])
def test_messages(source: str, expected: str) -> None:
    assert shown(source) == expected


def lines_blamed(source: str) -> list[int]:
    with pytest.raises(PlanError) as caught:
        parse(source)
    return [problem.span.line for problem in caught.value.diagnostics if problem.span]


def test_every_bad_line_is_reported_once_and_no_good_one() -> None:
    source = (
        "plan p\n"
        "in a text\n"  # 2: no colon
        "in b: text\n"
        "limit price $1\n"  # 4: no such bound
        "x = f(b\n"  # 5: open bracket
        "y = g(b)\n"
        "  | h(b c)\n"  # 7: no comma
        "  | i(b) if score > 1\n"  # 8: no dot
        "  | j(b)\n"
        "  @retry(2 3)\n"  # 10: no comma
        "Z = k(b)\n"  # 11: capital
        "w = l(b,\n"
        "  1x,\n"  # 13: number
        '  "abc)\n'  # 14: open text
        "v = m(b)\n"
        "out v, w x\n"  # 16: no comma
    )
    assert lines_blamed(source) == [2, 4, 5, 7, 8, 10, 11, 12, 13, 14, 16]


def test_two_bad_elements_of_one_call_are_both_reported() -> None:
    assert lines_blamed("a = f(\n  x y,\n  z,\n  [1, 2 3],\n  k = ,\n  w)\nout a") == [2, 4, 5]


def test_an_open_bracket_does_not_swallow_the_next_statements() -> None:
    for following in ("b = g(x)", "out a", "in c: text", "limit cost $1", "b = ns.g(x)"):
        error = shown(f"a = f(x, [1,\n{following}")
        assert error.startswith("1:10: error[E005]: `[` is never closed")
        assert error.count("error[") == 1


def test_arguments_on_their_own_lines_are_no_statements() -> None:
    parse("a = f(\n  x = y,\n  in = z,\n  out = [\n    1,\n  ],\n)\nout a")


def test_long_lists_of_problems_are_cut() -> None:
    with pytest.raises(PlanError) as caught:
        parse("a = f(1x)\n" * 400 + "b b\n" * 400)
    assert len(caught.value.diagnostics) == MAX_PROBLEMS
    assert "too many problems" in caught.value.diagnostics[-1].message
    with pytest.raises(PlanError) as caught:
        parse("b b\n" * (MAX_PROBLEMS - 1))
    assert "too many" not in str(caught.value)


def test_nesting_limit() -> None:
    parse(f"a = f({'[' * (MAX_DEPTH - 1)}{']' * (MAX_DEPTH - 1)})")
    assert shown(f"a = f({'[' * MAX_DEPTH}{']' * MAX_DEPTH})").startswith(f"1:{6 + MAX_DEPTH}: error[E006]")


def test_bytes_that_are_no_utf8_are_pointed_at() -> None:
    with pytest.raises(PlanError) as caught:
        parse(b'\xef\xbb\xbfplan p\na = f("\xc3\xa4\xff")')
    assert str(caught.value).startswith("2:9: error[E001]: byte 0xFF is not UTF-8\n")


def test_columns_do_not_count_the_byte_order_mark() -> None:
    assert shown("\ufeffA = f()").startswith("1:1: ")


def rewrite() -> None:
    blocks = []
    for source, _ in cases():
        try:
            parse(source)
        except PlanError as error:
            blocks.append(f"=== {source!r}\n{error}")
    MESSAGES.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


if __name__ == "__main__":
    rewrite()
