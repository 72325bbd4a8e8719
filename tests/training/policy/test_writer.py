"""The plans a policy writes: valid, within the budget, drawn as likely as the policy says, the same every time."""

import itertools
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from catp.planlang.check import check
from catp.planlang.mask.automaton import State
from catp.planlang.money import Money
from catp.planlang.token_ids import encode_ids
from catp.planlang.types import Type
from catp.planners.protocol import NothingFits, Objective, PlanningFailed, PlanRequest, Wanted
from catp.planners.testing import small_request
from catp.training.policy.writer import LocalWriter
from catp.training.prompt.ask import Ask
from tests.training.policy.writing import page_request, plans, random_policy, with_objective, write

BUDGET = Money(5_000)


@pytest.fixture(scope="module")
def writer() -> LocalWriter:
    return LocalWriter(random_policy(), threads=1)


def likelihoods(writer: LocalWriter, request: PlanRequest) -> dict[tuple[int, ...], float]:
    """Log pi of every plan the mask allows, by plan-token ids, from beams wider than there are plans."""
    ask = Ask.of(request, writer.policy.tokens.vocabulary)
    wide = write(writer, request, samples=0, beams=500)
    return {tuple(encode_ids(w.plan, ask.context)): w.logprob for w in wide.written}


def every_plan(request: PlanRequest, writer: LocalWriter) -> set[tuple[int, ...]]:
    """Every plan the mask allows, by walking it."""
    mask = Ask.of(request, writer.policy.tokens.vocabulary).mask()
    found: set[tuple[int, ...]] = set()
    waiting: list[tuple[State, tuple[int, ...]]] = [(mask.start(), ())]
    while waiting:
        state, ids = waiting.pop()
        if mask.finished(state):
            found.add(ids)
            continue
        allowed = mask.allowed(state)
        for token in (token for token in range(allowed.bit_length()) if allowed >> token & 1):
            after, forced = mask.advance(state, token)
            waiting.append((after, (*ids, token, *forced)))
    return found


def narrow_request() -> PlanRequest:
    """So little money that about a hundred plans fit."""
    return page_request(tools=12, seed=2, budget=BUDGET)


def test_ten_thousand_tokens_of_random_plans_are_all_valid_and_within_the_budget() -> None:
    tokens = requests = 0
    policies = [random_policy(seed=seed, sharp=sharp) for seed, sharp in ((0, 1.0), (1, 12.0), (2, 60.0))]
    for seed in itertools.count():
        writer = LocalWriter(policies[seed % 3], threads=1, temperature=(0.7, 1.0, 3.0)[seed // 3 % 3])
        request = small_request(seed, max_tools=8)
        if all(want.optional for want in request.wanted):
            continue
        if seed % 2:
            request = replace(request, objective=Objective(budget=Money(5_000)))
        try:
            draft = write(writer, request, samples=8, beams=2, seed=seed)
        except PlanningFailed:
            continue
        requests += 1
        tokens += draft.usage.plan_tokens
        view = Ask.of(request, writer.policy.tokens.vocabulary).view
        prices = {tool.name: tool.price or 0.0 for tool in view.tools}
        wanted = {want.name for want in request.wanted if not want.optional}
        assert draft.written
        for plan in plans(draft):
            checked = check(plan, request.registry)
            assert checked.ok, checked.diagnostics
            assert wanted <= {output.name for output in plan.outputs}
            if request.objective.budget is not None:
                assert sum(prices[step.attempts[0].tool] for step in plan.steps) <= request.objective.budget
        if tokens >= 10_000:
            break
    assert requests >= 10


def test_the_same_request_and_seed_give_the_same_draft(writer: LocalWriter) -> None:
    request = page_request()
    first = write(writer, request, samples=5, beams=2, seed=7)
    again = write(writer, request, samples=5, beams=2, seed=7)
    assert (first.written, first.rated) == (again.written, again.rated)
    assert first.written != write(writer, request, samples=5, beams=2, seed=8).written


def test_a_sample_does_not_depend_on_how_many_others_are_drawn(writer: LocalWriter) -> None:
    request = page_request()
    few, many = (plans(write(writer, request, samples=count, seed=3)) for count in (3, 9))
    assert many[: len(few)] == few
    assert len(many) > len(few)


def test_the_greedy_plan_comes_first_and_takes_the_likeliest_token_each_time(writer: LocalWriter) -> None:
    request = page_request()
    (alone,) = write(writer, request, samples=0).written
    assert write(writer, request, samples=4, seed=9).written[0].plan == alone.plan
    (beam,) = write(writer, request, samples=0, beams=1).written  # the beam of width 1 is the same plan, told once
    assert beam.plan == alone.plan
    cold = LocalWriter(writer.policy, threads=1, temperature=1e-4)
    assert plans(write(cold, request, samples=4, seed=9)) == [alone.plan]


def test_likelihoods_sum_to_one_over_all_plans(writer: LocalWriter) -> None:
    request = narrow_request()
    found = likelihoods(writer, request)
    assert set(found) == every_plan(request, writer)
    assert 50 < len(found) < 500
    assert sum(map(math.exp, found.values())) == pytest.approx(1.0, abs=1e-6)


def test_beams_find_the_likeliest_plans(writer: LocalWriter) -> None:
    request = narrow_request()
    ranked = sorted(likelihoods(writer, request).values(), reverse=True)
    draft = write(writer, request, samples=0, beams=16)
    # the first is the greedy plan wherever it ranks; behind it the beams, best first
    found = sorted((written.logprob for written in draft.written), reverse=True)
    assert found[:3] == pytest.approx(ranked[:3], abs=1e-4)
    assert found[0] > draft.written[0].logprob or draft.written[0].logprob == pytest.approx(ranked[0], abs=1e-4)


def test_length_normalised_beams_prefer_longer_plans(writer: LocalWriter) -> None:
    request = page_request(tools=12, budget=Money(20_000))

    def steps(length: float) -> float:
        fair = LocalWriter(writer.policy, threads=1, length=length)
        return float(np.mean([len(plan.steps) for plan in plans(write(fair, request, samples=0, beams=6))[1:]]))

    assert steps(1.0) > steps(0.0)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_plans_are_drawn_as_often_as_the_policy_says(writer: LocalWriter, temperature: float) -> None:
    """Frequencies of the first tool over many seeds against its probability, at the temperature of each choice."""
    request = narrow_request()
    found = likelihoods(writer, request)
    first: Counter[int] = Counter()
    for ids, logp in found.items():
        first[ids[1]] += math.exp(logp)  # type: ignore[assignment]  # a weight, not a count
    weights = {token: share ** (1 / temperature) for token, share in first.items()}
    expected = {token: weight / sum(weights.values()) for token, weight in weights.items()}
    drawing = LocalWriter(writer.policy, threads=1, temperature=temperature)
    ask = Ask.of(request, writer.policy.tokens.vocabulary)
    count, drawn = 100, Counter[int]()
    for seed in range(count):
        written = write(drawing, request, samples=1, seed=seed).written
        drawn[encode_ids(written[-1].plan, ask.context)[1]] += 1  # the sample is the greedy plan if there is no other
    for token, share in expected.items():
        spread = math.sqrt(share * (1 - share) / count)
        assert abs(drawn[token] / count - share) <= 3.5 * spread + 1 / count


def test_plans_are_distinct_and_their_tokens_are_counted(writer: LocalWriter) -> None:
    draft = write(writer, page_request(), samples=12, beams=4)
    assert len(set(plans(draft))) == len(draft.written)
    assert draft.usage.prompt_tokens > 100
    assert draft.usage.plan_tokens > 20 * 2
    assert draft.usage.seconds > 0.0
    assert draft.usage.price is None
    alone = write(writer, page_request(), samples=0).usage
    assert alone.prompt_tokens == draft.usage.prompt_tokens
    assert alone.plan_tokens < draft.usage.plan_tokens


def test_what_cannot_be_made_is_said_before_a_token_is_computed(writer: LocalWriter) -> None:
    request = page_request()
    with pytest.raises(NothingFits, match="budget") as caught:
        write(writer, with_objective(request, budget=Money(1)))
    assert caught.value.limit == "budget"
    nothing = replace(request, wanted=(Wanted("sound", Type("audio")),))
    with pytest.raises(PlanningFailed, match="audio"):
        write(writer, nothing)


def test_tools_that_write_are_never_used(writer: LocalWriter) -> None:
    request = page_request()
    sigs = [replace(s, effects="write") if s.name in ("ocr_0", "denoise_0") else s for s in request.registry]
    rivals = [replace(s, name=type(s.name)(f"{s.name}b"), effects="pure") for s in sigs if s.name == "ocr_0"]
    registry = replace(request.registry, tools=(*sigs, *rivals))
    estimator = replace(request.estimator, registry=registry)  # type: ignore[type-var]
    draft = write(writer, replace(request, registry=registry, estimator=estimator), samples=12)
    used = {step.attempts[0].tool for plan in plans(draft) for step in plan.steps}
    assert used & {"ocr_0b"}
    assert not used & {"ocr_0", "denoise_0"}
