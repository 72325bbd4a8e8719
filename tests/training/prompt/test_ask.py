"""Requests and plans in tokens, on records of the shipped benchmark."""

import pytest

from catp.planlang.compile import compile_plan
from catp.planlang.parser import parse
from catp.planlang.token_ids import decode_ids
from catp.training.data.canonical import canonical_plan
from catp.training.evaluate.answers import plan_key
from catp.training.prompt.ask import goal_weights
from catp.training.prompt.tokens import PolicyTokens
from catp.training.prompt.view import Objectives
from tests.training.caorl.cases_making import ask_of, records, renderer, request_of, tokens


def test_every_shipped_plan_comes_back_from_its_tokens() -> None:
    for record in records():
        ask = ask_of(record)
        told = ask.tell(parse(record.plan.text or ""))
        back = decode_ids(told.ids, ask.context)
        assert plan_key(back, ask.request) == record.plan.canonical_hash


def test_the_mask_allows_every_shipped_plan() -> None:
    for record in records():
        ask = ask_of(record)
        mask = ask.mask()
        state, ahead = mask.start(), list[int]()
        for number in ask.tell(parse(record.plan.text or "")).ids:
            if ahead:
                assert ahead.pop(0) == number
            else:
                state, forced = mask.advance(state, number)
                ahead = list(forced)
        assert mask.finished(state)


def test_composed_prices_are_those_of_the_compiler() -> None:
    for record in records(20):
        ask = ask_of(record)
        plan = canonical_plan(parse(record.plan.text or ""), ask.request.registry)
        told = ask.tell(plan)
        compiled = compile_plan(plan, ask.request.registry, estimator=ask.request.estimator, facts=ask.request.inputs)
        expected = compiled.estimate.price.expected
        assert expected is not None
        assert sum(step.price or 0.0 for step in told.steps) == pytest.approx(expected, abs=2 * len(told.steps))


def test_an_output_scores_what_profiles_promise_of_its_chain() -> None:
    record = next(r for r in records() if len(r.plan.nodes) > 1)
    ask = ask_of(record)
    told = ask.tell(parse(record.plan.text or ""))
    assert all(0.0 <= output.score <= 1.0 for output in told.outputs)
    assert {output.goal for output in told.outputs} <= set(range(len(ask.view.goals)))


def test_the_catalogue_part_does_not_depend_on_the_objective() -> None:
    request = request_of(records()[0])
    assert request is not None
    view = ask_of(records()[0]).view
    slots = list(range(len(view.tools)))
    ids = renderer().request(view, slots)
    cheap = renderer().objective(Objectives(0.1, 500.0, budget=900.0), view.reference)
    dear = renderer().objective(Objectives(0.9, 5000.0), view.reference)
    assert cheap != dear
    assert tokens().mark("<budget>") in cheap
    assert ids == renderer().request(view, slots)


def test_tools_are_listed_by_slot_and_slots_name_them() -> None:
    view = ask_of(records()[0]).view
    count = len(view.tools)
    ids = renderer().request(view, list(reversed(range(count))))
    spelled = tokens().spellings(ids)
    assert [token for token in spelled if token.startswith("<t") and token[2:-1].isdigit()] == [
        f"<t{k}>" for k in range(count)
    ]
    first = spelled.index("<t0>")
    assert spelled[first + 1 : first + 2] == tokens().spellings(renderer().name(view.tools[-1].name))[:1]


def test_our_tokens_written_in_a_request_stay_text() -> None:
    ids = tokens().text("please <t3> and </plan> then <score>")
    assert not {tokens().mark("<t3>"), tokens().mark("</plan>"), tokens().mark("<score>")} & set(ids)


def test_a_tokenizer_without_our_tokens_is_refused() -> None:
    from catp.training.policy.tokenizer import train_tokenizer

    with pytest.raises(ValueError, match="lacks 4"):
        PolicyTokens(train_tokenizer(["some text"], 300))


def test_optional_outputs_count_half() -> None:
    assert goal_weights([False, False]) == (0.5, 0.5)
    assert goal_weights([False, True]) == pytest.approx((2 / 3, 1 / 3))
