"""The formatter: canonical text, and not one comment lost."""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.planlang.errors import PlanError
from catp.planlang.format import format_source
from catp.planlang.parser import parse
from catp.planlang.printer import to_text
from catp.planlang.testing import random_plan

MESSY = """\

# top
plan x "doc # no comment" # head
in a: text   # the a


in b: text
limit cost $1
# why s
s = foo(a, # first
   [1,2,
   # second
   3]) if .x > 3
  | bar(b)  # third

  @retry(2)

u=foo(t"{a} # no",b)   # yes
out s # one
# two
out u?, z = s.q

# end
"""


def test_comments_inside_a_header_stay_with_it() -> None:
    source = 'plan x "d"  # what\n# who\n\n  @approve  # why\n\n\nin a: text\nout a\n'
    done = format_source(source)
    assert done == '# what\n# who\n# why\nplan x "d" @approve\n\nin a: text\nout a\n'
    assert format_source(done) == done


def test_comments_and_groups_stay_with_their_statements() -> None:
    assert (
        format_source(MESSY)
        == """\
# top
plan x "doc # no comment"  # head
in a: text  # the a

in b: text
limit cost $1.00
# why s
# first
# second
# third
s = foo(a, [1, 2, 3]) if .x > 3 | bar(b) @retry(2)

u = foo(t"{a} # no", b)  # yes
# two
out s, u?, z = s.q  # one

# end
"""
    )


def test_statements_out_of_order_take_their_comments_along() -> None:
    source = "a = f(1)\n# about q\nin q: text # given\n# about b\nb = g(a, q)\nout b\nlimit calls 3 # few\n"
    parsed = parse(source)
    assert format_source(source) == (
        "# about q\nin q: text  # given\nlimit calls 3  # few\na = f(1)\n# about b\nb = g(a, q)\nout b\n"
    )
    assert parse(format_source(source)) == parsed


def test_a_comment_behind_a_statement_that_needs_several_lines_moves_above_it() -> None:
    call = ", ".join(f'"{"x" * 20}{i}"' for i in range(8))
    formatted = format_source(f"a = f({call}) | g({call}) # long\nout a\n")
    assert formatted.splitlines()[0] == "# long"
    assert formatted.count("# long") == 1


@pytest.mark.parametrize("source", ["", "\n\n", "# only a comment", "\ufeff# mark\r\nout a # x\r\n"])
def test_nearly_empty_sources(source: str) -> None:
    formatted = format_source(source)
    assert format_source(formatted) == formatted
    assert formatted.count("#") == source.count("#")
    assert not formatted.startswith("\n")
    assert not formatted.endswith("\n\n")


def test_an_invalid_plan_is_not_formatted() -> None:
    with pytest.raises(PlanError) as caught:
        format_source("a = f(\nout a\n")
    assert caught.value.diagnostics[0].code == "E005"


@settings(deadline=None, max_examples=200)
@given(seed=st.integers(0, 10**6), data=st.data())
def test_formatting_keeps_the_plan_and_every_comment_and_is_stable(seed: int, data: st.DataObject) -> None:
    plan = random_plan(random.Random(seed))
    lines = to_text(plan).split("\n")[:-1]
    written: list[str] = []
    count = 0
    for line in lines:
        for kind in data.draw(st.lists(st.sampled_from(["comment", "blank"]), max_size=2)):
            count += kind == "comment"
            written.append(f"  # c{count}." if kind == "comment" else "")
        if data.draw(st.booleans()):
            count += 1
            line += f" # c{count}."
        written.append(line)
    source = "\n".join(written)
    formatted = format_source(source)
    assert parse(formatted) == plan
    assert sorted(re.findall(r"# c\d+\.", formatted)) == sorted(f"# c{i}." for i in range(1, count + 1))
    assert format_source(formatted) == formatted
    assert "\n\n\n" not in formatted
