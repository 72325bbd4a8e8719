"""Token ids: the fixed vocabulary, and plans spelled by position."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.planlang.digest import canonical
from catp.planlang.errors import PlanError
from catp.planlang.nodes import Literal, Plan, ToolName
from catp.planlang.parser import parse
from catp.planlang.registry_view import Param, RegistryView, ToolSig
from catp.planlang.token_ids import Goal, TokenContext, decode_ids, encode_ids
from catp.planlang.tokens import Header
from catp.planlang.types import Type, TypeDef, TypeTable, list_of
from catp.planlang.vocabulary import LEVELS, Vocabulary, nearest_level

TEXT, IMAGE = Type("text"), Type("image")


def registry() -> RegistryView:
    table = TypeTable().with_type(TypeDef("Reading", (("text", TEXT), ("confidence", Type("number")))))
    return RegistryView(
        (
            ToolSig(ToolName("load"), (Param("uri", TEXT),), list_of(IMAGE)),
            ToolSig(
                ToolName("read"),
                (Param("image", IMAGE), Param("lang", TEXT, False, None, ("en", "de"))),
                Type("Reading"),
            ),
            ToolSig(ToolName("large"), (Param("image", IMAGE), Param("deep", Type("bool"), False)), Type("Reading")),
            ToolSig(
                ToolName("join"),
                (Param("parts", list_of(TEXT)), Param("sep", TEXT, False), Param("top", Type("int"), False)),
                TEXT,
            ),
        ),
        table,
    )


SOURCE = """
in uri: text
in page: image
pages = load(uri) @retry(2) @timeout(3s)
all = read(each pages, "de")
one = read(page) if .confidence >= 0.85 | large(page, true) when uri != "skip" else all[0] @approve
text = join([one.text, uri, "end"], top=10) @after(pages)
greeting = join([t"end{uri}"], "end")
out said = text, raw = one.text?
"""


def context(plan: Plan, vocabulary: Vocabulary | None = None) -> TokenContext:
    goals = (Goal("raw", TEXT, True), Goal("said", TEXT))
    literals = (Literal("end"), Literal("skip"))
    return TokenContext(registry(), Header.of(plan), goals, literals, vocabulary or Vocabulary())


def codes(ids: list[int], ctx: TokenContext) -> set[str]:
    """The codes of the errors, none if the ids spell a plan."""
    try:
        decode_ids(ids, ctx)
    except PlanError as error:
        return {d.code for d in error.diagnostics}
    return set()


def test_the_vocabulary_is_small_fixed_and_without_doubles() -> None:
    vocabulary = Vocabulary()
    assert len(vocabulary) == len(set(vocabulary.spellings)) == 273
    assert all(vocabulary.id(spelling) == token for token, spelling in enumerate(vocabulary.spellings))


def test_more_tool_slots_keep_every_other_id() -> None:
    small, large = Vocabulary(), Vocabulary(500)
    assert large.spellings[: len(small)] == small.spellings
    assert len(large) - len(small) == 500 - 64


def test_levels_are_sorted_and_the_nearest_is_found() -> None:
    for kind, levels in LEVELS.items():
        assert len(levels) == 16
        assert list(levels) == sorted(set(levels))
        assert all(nearest_level(kind, value) == k for k, value in enumerate(levels))


def test_a_plan_with_every_construct_the_ids_have_comes_back() -> None:
    plan = parse(SOURCE)
    ctx = context(plan)
    ids = encode_ids(plan, ctx)
    back = decode_ids(ids, ctx)
    assert canonical(back) == canonical(plan)
    spelled = [ctx.vocabulary.spellings[token] for token in ids]
    assert spelled[:6] == ["<plan>", "<t0>", "<i0>", "<@retry>", "<q2>", "<@timeout>"]
    assert "<a2>" in spelled


def test_approval_of_the_plan_comes_from_the_context_alone() -> None:
    plan, asking = parse(SOURCE), parse(f"plan @approve{SOURCE}")
    ids = encode_ids(plan, context(plan))
    assert encode_ids(asking, context(asking)) == ids
    assert decode_ids(ids, context(asking)).approve
    assert not decode_ids(ids, context(plan)).approve
    for left, right in ((plan, asking), (asking, plan)):
        with pytest.raises(PlanError, match="not that of the context"):
            encode_ids(left, context(right))
    forged = [ids[0], Vocabulary().id("<@approve>"), *ids[1:]]
    assert codes(forged, context(plan)) == {"E010"}


def test_the_same_ids_mean_the_same_with_more_tool_slots() -> None:
    plan = parse(SOURCE)
    assert encode_ids(plan, context(plan)) == encode_ids(plan, context(plan, Vocabulary(500)))


def test_conditions_between_steps_are_skipped() -> None:
    plan = parse(SOURCE)
    ctx = context(plan)
    ids = encode_ids(plan, ctx)
    condition = [ctx.vocabulary.id("<budget>"), ctx.vocabulary.id("<q5>")]
    end = ids.index(ctx.vocabulary.id("<end>")) + 1
    assert decode_ids([*condition, *ids[:end], *condition, *ids[end:]], ctx) == decode_ids(ids, ctx)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('x = join(["not offered"])', "not offered"),
        ("x = unknown(page)", "unknown"),
        ("x = join([uri], top=11)", "11"),
        ("x = read(page, null)", "None"),
        ("x = load({a: uri})", "object"),
    ],
)
def test_what_has_no_place_is_refused_with_its_name(line: str, word: str) -> None:
    plan = parse(f"in uri: text\nin page: image\n{line}\nout said = uri\n")
    with pytest.raises(PlanError, match=word) as caught:
        encode_ids(plan, context(plan))
    assert {d.code for d in caught.value.diagnostics} == {"E010"}


def test_an_output_nobody_asked_for_is_refused() -> None:
    plan = parse("in uri: text\nout other = uri\n")
    with pytest.raises(PlanError, match="other"):
        encode_ids(plan, context(plan))


def test_a_context_larger_than_the_vocabulary_is_refused() -> None:
    with pytest.raises(ValueError, match="narrow"):
        TokenContext(registry(), Header(), (), (), Vocabulary(3))


@settings(deadline=None, max_examples=400)
@given(st.lists(st.integers(-2, 280), max_size=40))
def test_garbage_ids_give_a_plan_or_a_plan_error(ids: list[int]) -> None:
    ctx = context(parse(SOURCE))
    assert codes(ids, ctx) | codes([0, *ids], ctx) <= {"E010"}


@settings(deadline=None, max_examples=300)
@given(st.randoms(use_true_random=False))
def test_damaged_ids_give_a_plan_or_a_plan_error(rng: Random) -> None:
    plan = parse(SOURCE)
    ctx = context(plan)
    ids = encode_ids(plan, ctx)
    for _ in range(rng.randint(1, 3)):
        ids[rng.randrange(len(ids))] = rng.choice((rng.randrange(len(ctx.vocabulary)), rng.choice(ids)))
    found = codes(ids, ctx)
    assert found <= {"E010"}
    if not found:
        back = decode_ids(ids, ctx)
        assert decode_ids(encode_ids(back, ctx), ctx) == back
