"""Small requests, completely: all walks of the mask against all valid plans of an independent oracle."""

from itertools import islice
from random import Random

import pytest

from catp.planlang.mask import Infeasible, MaskContext, PlanMask
from catp.planlang.mask.oracle import every_plan, every_walk
from catp.planlang.mask.worlds import small_context
from catp.planlang.money import Money
from catp.planlang.nodes import Input, ToolName, step_refs
from catp.planlang.registry_view import Param, RegistryView, ToolSig
from catp.planlang.token_ids import Goal, TokenContext, decode_ids, encode_ids
from catp.planlang.tokens import Header
from catp.planlang.types import Type, TypeDef, TypeTable, parse_type

MOST = 300


@pytest.mark.parametrize("start", range(0, 60, 20))
def test_the_mask_allows_exactly_the_valid_plans(start: int) -> None:
    compared = 0
    for seed in range(start, start + 20):
        context = small_context(Random(seed))
        plans = {tuple(encode_ids(plan, context.tokens)) for plan in islice(every_plan(context), MOST)}
        if len(plans) == MOST:
            continue
        try:
            walks = list(every_walk(PlanMask(context)))
        except Infeasible:
            assert not plans, f"seed {seed}: refused, but there are plans"
            continue
        assert len(set(walks)) == len(walks)
        assert set(walks) == plans, f"seed {seed}"
        compared += len(plans)
    assert compared > 20


@pytest.mark.parametrize("wanted", ["text", "list[text]", "A", "list[number]"])
def test_fields_of_lists_are_offered_exactly_where_they_are_valid(wanted: str) -> None:
    table = TypeTable().with_type(TypeDef("A", (("x", Type("text")), ("s", Type("number")))))
    table = table.with_type(TypeDef("B", (("a", Type("A")),)))
    signatures = (("read", "A", "image"), ("mark", "B", "text"), ("join", "text", "list[text]"))
    tools = tuple(
        ToolSig(ToolName(name), (Param("p", parse_type(taken)),), Type(given)) for name, given, taken in signatures
    )
    tokens = TokenContext(
        RegistryView(tools, table),
        Header((Input("pages", parse_type("list[image]")),)),
        (Goal("o", parse_type(wanted)),),
    )
    context = MaskContext(tokens, (Money(1),) * 3, Money(5), 3, 1, 2)
    plans = {tuple(encode_ids(plan, tokens)): plan for plan in every_plan(context)}
    try:
        walks = set(every_walk(PlanMask(context)))
    except Infeasible:
        walks = set()
    assert walks == set(plans)
    refs = [str(ref) for plan in plans.values() for step in plan.steps for _, ref in step_refs(step)]
    refs += [str(output.ref) for plan in plans.values() for output in plan.outputs]
    assert "n0.x" in refs  # `read` can only be mapped here, so this is a field of a list
    assert all(decode_ids(ids, tokens) == plan for ids, plan in plans.items())
