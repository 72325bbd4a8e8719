"""The decode mask: every walk ends in a valid plan within budget, and what is offered is what a request can use."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from catp.planlang.mask import Infeasible, MaskContext, PlanMask, State
from catp.planlang.mask.oracle import Auditor, price_of
from catp.planlang.mask.space import TypeSpace
from catp.planlang.mask.worlds import feasible, random_registry, zoo_context, zoo_registry
from catp.planlang.money import Money
from catp.planlang.nodes import Input, Literal, Plan, ToolName
from catp.planlang.registry_view import Param, RegistryView, ToolSig
from catp.planlang.token_ids import Goal, TokenContext, decode_ids, encode_ids
from catp.planlang.tokens import Header
from catp.planlang.types import Type, TypeDef, TypeTable, list_of

TEXT, IMAGE, NUMBER = Type("text"), Type("image"), Type("number")


def tokens_in(mask: int) -> list[int]:
    return [token for token in range(mask.bit_length()) if mask >> token & 1]


def walk(mask: PlanMask, rng: Random) -> list[int]:
    """One random walk; a dead end is an assertion error."""
    state, ids = mask.start(), list[int]()
    while not mask.finished(state):
        allowed = mask.allowed(state)
        assert allowed, f"dead end after {ids}"
        token = rng.choice(tokens_in(allowed))
        state, forced = mask.advance(state, token)
        ids += [token, *forced]
    return ids


def follow(mask: PlanMask, *spellings: str) -> State:
    """The state after the tokens spelled; forced tokens may be left out or written."""
    state, pending = mask.start(), list[int]()
    for spelling in ("<plan>", *spellings):
        token = mask.context.tokens.vocabulary.id(spelling)
        if pending:
            assert pending.pop(0) == token
            continue
        state, forced = mask.advance(state, token)
        pending = list(forced)
    return state


def offered(mask: PlanMask, state: State) -> set[str]:
    return {mask.context.tokens.vocabulary.spellings[token] for token in tokens_in(mask.allowed(state))}


def request(
    tools: tuple[ToolSig, ...],
    goals: dict[str, Type],
    inputs: dict[str, Type],
    prices: tuple[int | None, ...] = (),
    *,
    budget: int | None = None,
    max_steps: int = 8,
    max_attempts: int = 2,
    width: int = 8,
) -> MaskContext:
    table = TypeTable().with_type(TypeDef("Reading", (("text", TEXT), ("score", NUMBER))))
    header = Header(tuple(Input(name, type_) for name, type_ in inputs.items()))
    wanted = tuple(Goal(name, type_) for name, type_ in goals.items())
    tokens = TokenContext(RegistryView(tools, table), header, wanted)
    priced = tuple(None if price is None else Money(price) for price in prices)
    return MaskContext(tokens, priced, None if budget is None else Money(budget), max_steps, max_attempts, width)


def tool(name: str, returns: Type, *params: Type) -> ToolSig:
    return ToolSig(ToolName(name), tuple(Param(f"p{k}", type_) for k, type_ in enumerate(params)), returns)


@pytest.mark.parametrize("tools", [3, 11, 60, 500])
def test_every_random_walk_is_a_valid_plan_within_budget(tools: int) -> None:
    rng = Random(tools)
    for _ in range(6):
        mask = feasible(rng, random_registry(rng, tools))
        auditor = Auditor(mask.context)
        for _ in range(150):
            assert auditor.faults(decode_ids(walk(mask, rng), mask.context.tokens)) == []


def test_walks_on_zoo_like_tools_use_every_construct() -> None:
    mask, rng = PlanMask(zoo_context()), Random(1)
    seen: Counter[str] = Counter()
    for _ in range(600):
        plan = decode_ids(walk(mask, rng), mask.context.tokens)
        assert Auditor(mask.context).faults(plan) == []
        seen.update(constructs(plan))
    assert all(seen[name] for name in ("each", "alternative", "guard", "constant", "field", "skipped", "left out"))


def test_a_policy_can_neither_add_nor_drop_the_approval_of_the_plan() -> None:
    zoo = zoo_context()
    asked = replace(zoo, tokens=replace(zoo.tokens, header=replace(zoo.tokens.header, approve=True)))
    approve = zoo.tokens.vocabulary.id("<@approve>")
    for context in (zoo, asked):
        mask = PlanMask(context)
        state, _ = mask.advance(mask.start(), zoo.tokens.vocabulary.id("<plan>"))
        assert not mask.allowed(state) >> approve & 1
        for seed in range(20):
            assert decode_ids(walk(mask, Random(seed)), context.tokens).approve is context.tokens.header.approve


def constructs(plan: Plan) -> set[str]:
    args = [arg for step in plan.steps for attempt in step.attempts for arg in attempt.args]
    found = {
        "each": any(arg.each for arg in args),
        "alternative": any(len(step.attempts) > 1 for step in plan.steps),
        "guard": any(attempt.accept for step in plan.steps for attempt in step.attempts),
        "constant": any(isinstance(arg.value, Literal) for arg in args),
        "field": any(getattr(arg.value, "path", ()) for arg in args),
        "skipped": any(len(attempt.args) == 1 for step in plan.steps for attempt in step.attempts),
        "left out": len(plan.outputs) == 2,
    }
    return {name for name, there in found.items() if there}


def test_forced_tokens_are_taken_and_allowed() -> None:
    mask = PlanMask(request((tool("read", TEXT, IMAGE),), {"said": TEXT}, {"page": IMAGE}, max_steps=1, max_attempts=1))
    vocabulary = mask.context.tokens.vocabulary
    state, forced = mask.advance(mask.start(), vocabulary.id("<plan>"))
    assert mask.finished(state)
    assert [vocabulary.spellings[t] for t in forced] == ["<t0>", "<i0>", "<end>", "<o0>", "<n0>", "</plan>"]


def test_advancing_does_not_change_the_state_given() -> None:
    mask = PlanMask(zoo_context())
    state, _ = mask.advance(mask.start(), mask.context.tokens.vocabulary.id("<plan>"))
    before = (hash(state), mask.allowed(state))
    for token in tokens_in(mask.allowed(state)):
        mask.advance(state, token)
    assert (hash(state), mask.allowed(state)) == before


def test_tokens_not_allowed_are_refused() -> None:
    mask = PlanMask(zoo_context())
    for token in (-1, mask.context.tokens.vocabulary.id("<end>"), 10_000):
        with pytest.raises(ValueError, match="not allowed"):
            mask.advance(mask.start(), token)


def test_a_tool_that_would_leave_too_little_money_is_not_offered() -> None:
    tools = (tool("read", TEXT, IMAGE), tool("polish", IMAGE, IMAGE), tool("gild", IMAGE, IMAGE))
    mask = PlanMask(request(tools, {"said": TEXT}, {"page": IMAGE}, (5, 2, 3), budget=7))
    assert offered(mask, follow(mask)) == {"<t0>", "<t1>"}
    assert offered(mask, follow(mask, "<t1>", "<i0>", "<end>")) == {"<i0>", "<n0>"}


def test_the_last_step_must_reach_the_goal() -> None:
    tools = (tool("read", TEXT, IMAGE), tool("polish", IMAGE, IMAGE))
    mask = PlanMask(request(tools, {"said": TEXT}, {"page": IMAGE}, max_steps=2, max_attempts=1))
    spelled = [mask.context.tokens.vocabulary.spellings[t] for t in walk(mask, Random(0))]
    assert spelled.count("<end>") <= 2
    state = follow(mask, "<t1>", "<i0>", "<end>", "<t0>")
    assert offered(mask, state) == {"<i0>", "<n0>"}


def test_unpriced_tools_are_offered_only_without_a_budget() -> None:
    tools = (tool("read", TEXT, IMAGE), tool("guess", TEXT, IMAGE))
    with_budget = PlanMask(request(tools, {"said": TEXT}, {"page": IMAGE}, (5, None), budget=100))
    without = PlanMask(request(tools, {"said": TEXT}, {"page": IMAGE}))
    assert "<t1>" not in offered(with_budget, follow(with_budget))
    assert "<t1>" in offered(without, follow(without))


def test_alternatives_are_all_priced_and_share_the_wanted_type() -> None:
    tools = (tool("small", Type("Reading"), IMAGE), tool("large", Type("Reading"), IMAGE), tool("other", TEXT, IMAGE))
    goals, inputs = {"r": Type("Reading")}, {"page": IMAGE}
    enough = PlanMask(request(tools, goals, inputs, (3, 10, 1), budget=13))
    short = PlanMask(request(tools, goals, inputs, (3, 10, 1), budget=12))
    assert offered(enough, follow(enough, "<t0>", "<i0>")) == {"<end>", "<alt>", "<if>"}
    assert offered(enough, follow(enough, "<t0>", "<i0>", "<if>", "<.1>")) == {
        "<==>",
        "<!=>",
        "<<>",
        "<<=>",
        "<>>",
        "<>=>",
    }
    after = follow(enough, "<t0>", "<i0>", "<if>", "<.1>", "<>=>", "<q11>", "<alt>", "<t1>", "<i0>", "<end>")
    plan_end = offered(enough, after)
    assert "<t1>" not in plan_end
    assert "<o0>" in offered(short, follow(short, "<t0>", "<i0>"))


def test_a_map_is_priced_for_all_elements() -> None:
    tools = (tool("read", TEXT, IMAGE), tool("join", TEXT, list_of(TEXT)))
    goals, inputs = {"said": TEXT}, {"pages": list_of(IMAGE)}
    PlanMask(request(tools, goals, inputs, (3, 1), budget=13, width=4))
    with pytest.raises(Infeasible, match=r"0\.000000013.*0\.000000012"):
        PlanMask(request(tools, goals, inputs, (3, 1), budget=12, width=4))


def test_a_side_product_of_one_goal_serves_another() -> None:
    nested = TypeDef("Page", (("reading", Type("Reading")),))
    context = request(
        (tool("scan", Type("Page"), IMAGE), tool("read", TEXT, IMAGE)), {"a": TEXT}, {"page": IMAGE}, (2, 2)
    )
    tokens = context.tokens
    registry = replace(tokens.registry, types=tokens.registry.types.with_type(nested))
    goals = (Goal("a", Type("Reading")), Goal("b", TEXT))
    both = replace(context, tokens=replace(tokens, registry=registry, goals=goals), budget=Money(2))
    assert len(decode_ids(walk(PlanMask(both), Random(0)), both.tokens).steps) == 1


def test_what_cannot_be_done_is_said_at_once() -> None:
    tools = (tool("read", TEXT, IMAGE), tool("count", NUMBER, TEXT))
    with pytest.raises(Infeasible, match="audio"):
        PlanMask(request(tools, {"sound": Type("audio")}, {"page": IMAGE}))
    with pytest.raises(Infeasible, match=r"2 steps.* 1 "):
        PlanMask(request(tools, {"n": NUMBER}, {"page": IMAGE}, max_steps=1))


def test_shared_work_is_paid_once() -> None:
    tools = (tool("read", TEXT, IMAGE), tool("count", NUMBER, TEXT), tool("listen", Type("bool"), TEXT))
    context = request(tools, {"n": NUMBER, "b": Type("bool")}, {"page": IMAGE}, (10, 1, 1), budget=12, max_steps=3)
    plan = decode_ids(walk(PlanMask(context), Random(0)), context.tokens)
    assert price_of(plan, context) == 12


def test_two_values_no_single_one_of_which_helps_are_still_joined() -> None:
    pair = tool("pair", Type("bool"), TEXT, NUMBER)
    tools = (tool("read", TEXT, IMAGE), tool("count", NUMBER, IMAGE), pair)
    context = request(tools, {"b": Type("bool")}, {"page": IMAGE}, (4, 5, 6), budget=15, max_steps=3)
    mask = PlanMask(context)
    assert offered(mask, follow(mask)) == {"<t0>", "<t1>"}
    for seed in range(20):
        assert Auditor(context).faults(decode_ids(walk(mask, Random(seed)), context.tokens)) == []


def test_choices_flags_and_levels_are_single_ids() -> None:
    read = ToolSig(
        ToolName("read"),
        (Param("image", IMAGE), Param("lang", TEXT, False, None, ("en", "de")), Param("deep", Type("bool"), False)),
        TEXT,
    )
    mask = PlanMask(request((read,), {"said": TEXT}, {"page": IMAGE}, max_attempts=1))
    assert offered(mask, follow(mask, "<t0>", "<i0>")) == {"<c0>", "<c1>", "<a2>", "<end>"}
    assert offered(mask, follow(mask, "<t0>", "<i0>", "<a2>")) == {"<c0>", "<c1>"}
    assert offered(mask, follow(mask, "<t0>", "<i0>", "<c1>")) == {"<c0>", "<c1>", "<end>"}


def test_offered_literals_fill_texts_that_nothing_else_can() -> None:
    context = request((tool("ask", TEXT, TEXT),), {"said": TEXT}, {"page": IMAGE})
    with pytest.raises(Infeasible):
        PlanMask(context)
    mask = PlanMask(replace(context, tokens=replace(context.tokens, literals=(Literal("why?"), Literal(3)))))
    plan = decode_ids(walk(mask, Random(0)), mask.context.tokens)
    assert plan.steps[0].attempts[0].args[0].value == Literal("why?")


def test_plans_that_a_mask_allows_come_back_through_the_codec() -> None:
    mask, rng = PlanMask(zoo_context(None)), Random(2)
    for _ in range(200):
        plan = decode_ids(walk(mask, rng), mask.context.tokens)
        assert decode_ids(encode_ids(plan, mask.context.tokens), mask.context.tokens) == plan


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda c: replace(c, budget=Money(-1)), "negative"),
        (lambda c: replace(c, prices=(Money(-1),) * 11), "negative"),
        (lambda c: replace(c, prices=(Money(1),)), "prices"),
        (lambda c: replace(c, max_steps=0), "max_steps"),
        (lambda c: replace(c, max_steps=65), "max_steps"),
        (lambda c: replace(c, width=0), "width"),
        (lambda c: replace(c, max_attempts=0), "max_attempts"),
    ],
)
def test_senseless_limits_are_refused(change: Callable[[MaskContext], MaskContext], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        change(zoo_context())


def test_a_type_space_is_shared_only_within_one_token_context() -> None:
    context = zoo_context()
    space = TypeSpace(context.tokens)
    cheaper = replace(context, budget=Money(62))
    assert walk(PlanMask(cheaper, space), Random(5)) == walk(PlanMask(cheaper), Random(5))
    with pytest.raises(ValueError, match="another token context"):
        PlanMask(zoo_context(), space)


def test_some_output_must_be_required() -> None:
    tokens = TokenContext(zoo_registry(), Header((Input("page", IMAGE),)), (Goal("x", IMAGE, True),))
    with pytest.raises(ValueError, match="required"):
        MaskContext(tokens)
