"""The readable token form: lossless, spelled as the language's design has it, and closed to anything malformed."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.planlang.digest import canonical
from catp.planlang.errors import PlanError
from catp.planlang.nodes import Arg, Attempt, Input, Literal, Output, OwnTest, Plan, Ref, Step, StepName, ToolName
from catp.planlang.registry_view import Param, RegistryView, ToolSig
from catp.planlang.testing import random_plan
from catp.planlang.tokens import Header, decode, encode
from catp.planlang.types import Type

IMAGE = Type("image")


def step(name: str, tool: str, source: str) -> Step:
    return Step(StepName(name), (Attempt(ToolName(tool), (Arg(Ref(source)),)),))


def chain() -> Plan:
    steps = (step("a", "denoise", "photo"), step("b", "deblur", "a"), step("c", "colorize", "b"))
    return Plan(steps, (Output("c", Ref("c")),), (Input("photo", IMAGE),), name="restore_photo")


def refused(tokens: tuple[str, ...], header: Header | None = None) -> str:
    with pytest.raises(PlanError) as caught:
        decode(tokens, header=header)
    assert [d.code for d in caught.value.diagnostics] == ["E010"]
    return str(caught.value)


def outcome(tokens: Sequence[str]) -> set[str]:
    """`plan`, or the codes of the errors."""
    try:
        decode(tokens)
    except PlanError as error:
        return {d.code for d in error.diagnostics}
    return {"plan"}


def test_the_first_worked_example_has_the_tokens_of_the_design() -> None:
    wanted = "<plan> <t:denoise> <i0> <end> <t:deblur> <n0> <end> <t:colorize> <n1> <end> <out> <n2> <as> c </plan>"
    assert encode(chain(), header=False) == tuple(wanted.split())


def test_a_cascade_is_spelled_with_guards_and_alternatives() -> None:
    small = Attempt(ToolName("small"), (Arg(Ref("q")),), (OwnTest(("confidence",), ">=", Literal(0.85)),))
    large = Attempt(ToolName("large"), (Arg(Ref("q")),))
    plan = Plan(
        (Step(StepName("ans"), (small, large)),),
        (Output("answer", Ref("ans", ("text",)), True),),
        (Input("q", Type("text")),),
    )
    wanted = (
        "<plan> <t:small> <i0> <if> <.confidence> <>=> <lit:json> 0.85 </lit> <alt> <t:large> <i0> <end> "
        "<out?> <n0> <.text> <as> answer </plan>"
    )
    assert encode(plan, header=False) == tuple(wanted.split())
    assert canonical(decode(encode(plan))) == canonical(plan)


@pytest.mark.parametrize("start", range(0, 2000, 500))
def test_random_trees_survive_up_to_the_names_of_steps(start: int) -> None:
    for seed in range(start, start + 500):
        plan = random_plan(Random(seed))
        back = decode(encode(plan))
        assert canonical(back) == canonical(plan), f"seed {seed}"
        assert Header.of(back) == Header.of(plan), f"seed {seed}"
        assert encode(back) == encode(plan), f"seed {seed}"


def test_a_head_left_out_can_be_supplied_again() -> None:
    for seed in range(300):
        plan = random_plan(Random(seed))
        assert decode(encode(plan, header=False), header=Header.of(plan)) == decode(encode(plan)), f"seed {seed}"


def test_approval_of_the_plan_is_in_the_head_and_cannot_be_forged_behind_it() -> None:
    asking = replace(chain(), approve=True)
    tokens = encode(asking)
    assert tokens[:5] == ("<plan>", "<head>", "<name>", "restore_photo", "<@approve>")
    body = encode(asking, header=False)
    assert body == encode(chain(), header=False)
    assert decode(body, header=Header.of(asking)).approve
    assert not decode(body, header=Header.of(chain())).approve
    assert "expected `</plan>`" in refused(("<plan>", "<@approve>", *body[1:]), Header.of(chain()))


def test_a_head_given_twice_is_refused() -> None:
    assert "head of its own" in refused(encode(chain()), header=Header.of(chain()))


def test_steps_keep_clear_of_inputs_that_are_named_like_steps() -> None:
    plan = replace(chain(), inputs=(Input("n0", IMAGE),), steps=(step("a", "denoise", "n0"),), outputs=())
    back = decode(encode(plan))
    assert back.inputs[0].name == "n0"
    assert back.steps[0].name != "n0"
    assert canonical(back) == canonical(plan)


@pytest.mark.parametrize("text", ["<end>", "</lit>", '"', "<n0>", "</plan>", "\x00", "", "日本"])
def test_texts_that_look_like_tokens_stay_texts(text: str) -> None:
    plan = Plan(
        (Step(StepName("a"), (Attempt(ToolName("t"), (Arg(Literal(text)),)),)),), (Output("a", Ref("a")),), doc=text
    )
    back = decode(encode(plan))
    assert back.doc == text
    assert back.steps[0].attempts[0].args[0].value == Literal(text)


def test_equal_numbers_of_different_kinds_stay_different() -> None:
    for value in (1, 1.0, True):
        plan = Plan((Step(StepName("a"), (Attempt(ToolName("t"), (Arg(Literal(value)),)),)),), ())
        assert decode(encode(plan)).steps[0].attempts[0].args[0].value == Literal(value)


def test_unresolvable_names_and_unknown_tools_are_refused_on_encoding() -> None:
    dangling = replace(chain(), outputs=(Output("c", Ref("nobody")),))
    twice = replace(chain(), inputs=(Input("a", IMAGE), Input("photo", IMAGE)))
    registry = RegistryView((ToolSig(ToolName("denoise"), (Param("image", IMAGE),), IMAGE),))
    for plan, view, word in ((dangling, None, "nobody"), (twice, None, "twice"), (chain(), registry, "deblur")):
        with pytest.raises(PlanError, match=word) as caught:
            encode(plan, view)
        assert caught.value.diagnostics[0].code == "E010"


def test_a_registry_refuses_tools_it_lacks_on_decoding() -> None:
    with pytest.raises(PlanError, match="deblur"):
        decode(encode(chain()), RegistryView((ToolSig(ToolName("denoise"), (Param("image", IMAGE),), IMAGE),)))


@pytest.mark.parametrize(
    ("tokens", "word"),
    [
        ("", "<plan>"),
        ("<plan>", "</plan>"),
        ("<plan> </plan> </plan>", "the end of the plan"),
        ("<plan> <t:denoise> <n7> <end> </plan>", "a reference"),
        ("<plan> <t:denoise> <i0> <end> </plan>", "a reference"),
        ("<plan> <t:> <end> </plan>", "a tool"),
        ("<plan> <t:a> <@nonsense> <end> </plan>", "annotation"),
        ("<plan> <t:a> <lit:json> NaN </lit> <end> </plan>", "JSON scalar"),
        ("<plan> <t:a> <lit:json> [1] </lit> <end> </plan>", "JSON scalar"),
        ("<plan> <t:a> <lit:money> 1.5 </lit> <end> </plan>", "whole number"),
        ("<plan> <t:a> <if> <.x> <~> <end> </plan>", "an operator"),
        ('<plan> <t:a> <obj> "k" <list> </list> "k" <list> </list> </obj> <end> </plan>', "a new key"),
        ("<plan> <head> <in> x list[ </head> </plan>", "a type"),
        ("<plan> <t:a> <end> <out> <n0> <as> 7up </plan>", "a name"),
    ],
)
def test_malformed_tokens_say_what_was_expected_and_where(tokens: str, word: str) -> None:
    message = refused(tuple(tokens.split()))
    assert word in message
    assert message.startswith("token ")


def test_deep_nesting_is_refused_not_a_crash() -> None:
    assert "nested" in refused(("<plan>", "<t:a>", *["<list>"] * 100_000, "<end>"))


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 400), st.randoms(use_true_random=False))
def test_damaged_tokens_give_a_plan_or_a_plan_error(seed: int, rng: Random) -> None:
    tokens = list(encode(random_plan(Random(seed))))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(tokens))
        match rng.randrange(4):
            case 0:
                del tokens[at:]
            case 1:
                tokens.insert(at, rng.choice(tokens or ["<end>"]))
            case 2:
                tokens[at] = rng.choice(
                    ("<n0>", "<end>", "<>", "<.", '"', "<[9]>", "<lit:json>", "\ud800", "", "9" * 5000)
                )
            case _:
                tokens[at], tokens[-1] = tokens[-1], tokens[at]
        if not tokens:
            break
    assert outcome(tokens) <= {"plan", "E010"}


@settings(deadline=None, max_examples=300)
@given(st.lists(st.one_of(st.text(max_size=8), st.sampled_from(encode(random_plan(Random(3)))))))
def test_garbage_gives_nothing_but_plan_errors(tokens: list[str]) -> None:
    with pytest.raises(PlanError):
        decode(["<plan>", "<t:a>", *tokens, "<nonsense>"])
