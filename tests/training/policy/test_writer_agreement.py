"""Decoding and training say the same of the same plans: log pi and quality of the writer are those of `heads_of`."""

import math
from dataclasses import replace

import pytest
import torch

from catp.planlang.money import Money
from catp.planlang.nodes import Plan
from catp.planlang.types import Type
from catp.planners.cheapest import cheapest_plans
from catp.planners.protocol import PlanRequest, Wanted
from catp.training.caorl.batch import batch_of
from catp.training.caorl.cases import Branch, Case
from catp.training.caorl.examples import as_is, pack
from catp.training.caorl.losses import Heads, heads_of
from catp.training.policy.checkpoint import Policy
from catp.training.policy.writer import LocalWriter
from catp.training.prompt.ask import Ask
from catp.training.prompt.buckets import QUALITY_LEVELS
from catp.training.prompt.render import Renderer
from catp.training.prompt.view import Objectives
from tests.training.policy.writing import SCALE, masks, page_request, plans, random_policy, with_objective, write


def packed_heads(policy: Policy, request: PlanRequest, shown: list[Plan]) -> Heads:
    """What training reads at these plans, packed behind one prompt."""
    ask = Ask.of(request, policy.tokens.vocabulary)
    mask = ask.mask()
    branches = []
    for number, plan in enumerate(shown):
        told = ask.tell(plan)
        nothing = (math.nan,) * len(told.outputs)
        paid = (math.nan,) * len(told.steps)
        allowed = tuple(masks(mask, told.ids))
        branches.append(Branch(str(number), told, allowed, nothing, paid, 0.5, 0.0, 0.0))
    case = Case("case", "case", ask.view, tuple(branches), float(SCALE), {})
    drawn = replace(as_is(case, 0.8), objectives=Objectives.of(request.objective, float(SCALE)))
    renderer = Renderer(policy.tokens, policy.manifest.prompt.style)
    batch = batch_of([pack(drawn, renderer)], policy.tokens.pad)
    return heads_of(policy.model, batch, policy.tokens.plan_ids, policy.tokens.quality_ids)


@pytest.mark.parametrize("kv_heads", [4, 1])
@pytest.mark.parametrize(("budget", "deadline"), [(None, None), (Money(40_000), None), (None, 500.0)])
def test_log_pi_and_quality_are_those_of_training(kv_heads: int, budget: Money | None, deadline: float | None) -> None:
    policy = random_policy(kv_heads=kv_heads)
    request = page_request(budget=budget, deadline_ms=deadline)
    draft = write(LocalWriter(policy, threads=1), request, samples=8, beams=3, seed=5)
    assert len(draft.written) >= 6
    heads = packed_heads(policy, request, plans(draft))
    for place, written in enumerate(draft.written):
        assert written.logprob == pytest.approx(heads.logpi[place].item(), abs=1e-4 + 1e-5 * abs(written.logprob))
        assert written.rating.quality == pytest.approx(heads.quality[place].item(), abs=1e-4)
        assert written.rating.sd == pytest.approx(heads.sd[place].item(), abs=1e-4)
    # they differ from plan to plan, or nothing would be compared
    assert (
        max(written.rating.quality for written in draft.written) > min(w.rating.quality for w in draft.written) + 0.01
    )
    assert max(written.logprob for written in draft.written) > min(w.logprob for w in draft.written) + 0.5


def test_plans_shown_are_rated_as_in_training_however_many_share_their_beginning() -> None:
    policy = random_policy()
    request = page_request(tools=16)
    shown = [cheap.priced.plan for cheap in cheapest_plans(request, 6)]
    assert len(shown) == 6
    rated = write(LocalWriter(policy, threads=1), request, samples=2, shown=shown).rated
    heads = packed_heads(policy, request, shown)
    for place, rating in enumerate(rated):
        assert rating is not None
        assert rating.quality == pytest.approx(heads.quality[place].item(), abs=1e-4)
        assert rating.sd == pytest.approx(heads.sd[place].item(), abs=1e-4)


def test_a_plan_has_one_rating_whether_written_or_shown() -> None:
    writer = LocalWriter(random_policy(), threads=1)
    request = page_request()
    first = write(writer, request, samples=6)
    again = write(writer, request, samples=0, shown=plans(first))
    for written, rating in zip(first.written, again.rated, strict=True):
        assert rating is not None
        assert rating.quality == pytest.approx(written.rating.quality, abs=1e-4)


def test_a_plan_that_the_mask_does_not_allow_is_rated_all_the_same() -> None:
    """Over the budget by the mask's prices: it cannot be written, and what it is worth can be said."""
    policy = random_policy()
    writer = LocalWriter(policy, threads=1)
    free = page_request()
    dear = max(plans(write(writer, free, samples=12)), key=lambda plan: len(plan.steps))
    told = Ask.of(free, policy.tokens.vocabulary).tell(dear)
    spent = sum(step.price or 0.0 for step in told.steps)
    cheap = cheapest_plans(free, 1)[0].priced.price.p95
    assert cheap is not None
    assert cheap < spent / 2
    draft = write(writer, with_objective(free, budget=Money(round(spent / 2))), samples=4, shown=[dear])
    assert draft.rated[0] is not None
    assert 0.0 < draft.rated[0].quality < 1.0
    assert dear not in plans(draft)


def test_a_plan_the_tokens_cannot_spell_is_not_rated() -> None:
    request = page_request()
    (plan,) = [c.priced.plan for c in cheapest_plans(request, 1)]
    elsewhere = replace(plan.outputs[0], name="other")
    foreign = replace(plan, outputs=(elsewhere, *plan.outputs[1:]))
    draft = write(LocalWriter(random_policy(), threads=1), request, samples=1, shown=[foreign, plan])
    assert draft.rated[0] is None
    assert draft.rated[1] is not None


def test_without_a_price_scale_three_times_the_cheapest_plan_is_taken() -> None:
    writer = LocalWriter(random_policy(), threads=1)
    request = page_request(price_scale=None)
    shown = [c.priced.plan for c in cheapest_plans(request, 3)]
    ask = Ask.of(request, writer.policy.tokens.vocabulary)
    prices = [sum(step.price or 0.0 for step in ask.composer.steps(plan)) for plan in shown]
    guessed = write(writer, request, samples=4, shown=shown)
    named = write(writer, with_objective(request, price_scale=Money(round(3 * min(prices)))), samples=4, shown=shown)
    other = write(writer, with_objective(request, price_scale=Money(round(300 * min(prices)))), samples=4, shown=shown)
    assert guessed.written == named.written
    assert guessed.rated == named.rated
    assert guessed.written != other.written
    alone = write(writer, request, samples=4)
    median = Money(round(ask.view.reference))
    assert alone.written == write(writer, with_objective(request, price_scale=median), samples=4).written


def test_several_outputs_weigh_as_in_the_score() -> None:
    policy = random_policy()
    request = page_request(tools=16)
    wanted = (*request.wanted, Wanted("phrases", Type("KeyPhrases")), Wanted("mood", Type("Sentiment"), optional=True))
    request = replace(request, wanted=wanted)
    draft = write(LocalWriter(policy, threads=1), request, samples=8, seed=2)
    assert {len(plan.outputs) for plan in plans(draft)} != {4}  # optional ones are left out now and then
    heads = packed_heads(policy, request, plans(draft))
    for place, written in enumerate(draft.written):
        assert written.rating.quality == pytest.approx(heads.quality[place].item(), abs=1e-4)
        assert written.logprob == pytest.approx(heads.logpi[place].item(), abs=1e-3)


def test_ratings_beyond_the_ends_of_the_scale_keep_their_order_as_in_training() -> None:
    """A plan rated 1.05 is no better than 1, but likelier to be better than one rated 1.01."""
    beyond = set[float]()
    for seed in range(4):
        policy, request = random_policy(seed=seed), page_request()
        with torch.no_grad():  # sure of a great difference, up or down
            rows = policy.model.get_input_embeddings().weight
            first = rows[policy.tokens.quality_ids[0]].clone()
            rows[list(policy.tokens.quality_ids)] = torch.tensor(QUALITY_LEVELS)[:, None] * 4 * first
        draft = write(LocalWriter(policy, threads=1), request, samples=6, seed=seed)
        heads = packed_heads(policy, request, plans(draft))
        for place, written in enumerate(draft.written):
            assert written.rating.quality == pytest.approx(heads.quality[place].item(), abs=1e-3)
            assert written.rating.possible == pytest.approx(min(1.0, max(0.0, heads.quality[place].item())), abs=1e-3)
            if not 0.0 <= written.rating.quality <= 1.0:
                beyond.add(round(written.rating.quality, 2))
    assert len(beyond) > 2
