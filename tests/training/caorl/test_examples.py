"""Augmented examples: what is varied, what must never change, and what a model is shown of it."""

import math
from dataclasses import replace

import numpy as np
import pytest

from catp.planlang.vocabulary import Vocabulary
from catp.training.caorl.batch import batch_of, tree_mask
from catp.training.caorl.config import MethodConfig, PromptConfig
from catp.training.caorl.examples import as_is, draw, pack, parts_of
from tests.training.caorl.cases_making import cases, learning, renderer, tokens

VOCABULARY = Vocabulary()


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng([3, seed])


def test_labels_are_always_allowed_and_slots_stand_for_the_tools_of_the_plan() -> None:
    for number, case in enumerate(cases()):
        drawn = draw(case, PromptConfig(max_tools=9), MethodConfig(plans=5), 64, generator(number))
        packed = pack(drawn, renderer())
        assert packed.allowed[np.arange(len(packed.label)), packed.label].all()
        slot = dict(zip(drawn.slots, drawn.kept, strict=True))
        tools = VOCABULARY.span("t")
        for place, branch in enumerate(drawn.branches):
            mine = packed.label[packed.owner == place]
            used = {slot[token - tools.start] for token in mine if token in tools}
            assert used <= branch.tools
        assert len(set(drawn.slots)) == len(drawn.slots) == len(drawn.kept)
        assert all(branch.tools <= set(drawn.kept) for branch in drawn.branches)


def test_tools_left_out_are_never_allowed() -> None:
    case = max(cases(), key=lambda one: len(one.view.tools))
    drawn = draw(case, PromptConfig(max_tools=6, drop_tools=1.0), MethodConfig(plans=2), 64, generator(1))
    allowed = [bool(column.any()) for column in pack(drawn, renderer()).allowed.T]
    offered = {VOCABULARY.span("t")[slot] for slot in drawn.slots}
    assert {token for token in VOCABULARY.span("t") if allowed[token]} <= offered


def test_dearer_tools_make_dearer_plans_and_better_ones_stay_better() -> None:
    case = cases()[0]
    plain = as_is(case, 0.8)
    tool = next(iter(case.branches[0].tools))
    factors = tuple(10.0 if place == tool else 1.0 for place in plain.kept)
    before, after = pack(plain, renderer()), pack(replace(plain, factors=factors), renderer())
    for place, branch in enumerate(case.branches):
        paid = sum(p for step, p in zip(branch.told.steps, branch.paid, strict=True) if step.tool == tool)
        assert after.price[place] - before.price[place] == pytest.approx(9 * paid / case.scale, rel=1e-4)
    assert (before.score == after.score).all()
    assert before.price[0] == pytest.approx(case.branches[0].price / case.scale)


def test_the_same_generator_gives_the_same_example() -> None:
    algorithm = learning()
    first, again = (algorithm.example(3, generator(5)) for _ in range(2))
    other = algorithm.example(3, generator(6))
    assert (first.ids == again.ids).all()
    assert len(other) != len(first) or (other.ids != first.ids).any()


def test_a_budget_in_the_prompt_is_met_by_some_plan_and_told_step_by_step() -> None:
    prompt = PromptConfig(condition_budget=1.0, condition_return=1.0)
    packed = [pack(draw(case, prompt, MethodConfig(), 64, generator(k)), renderer()) for k, case in enumerate(cases())]
    assert all(one.fits.any() for one in packed)
    left, to_go = tokens().mark("<budget>"), tokens().mark("<return>")
    ends = tokens().mark("<end>")
    for one in packed:
        steps = int((one.ids == ends).sum())
        assert int((one.ids == left).sum()) == steps + 1
        assert int((one.ids == to_go).sum()) == steps + 1


def test_quality_is_read_once_per_output_behind_the_plan() -> None:
    case = max(cases(), key=lambda one: len(one.view.goals))
    packed = pack(as_is(case, 0.8), renderer())
    for place, branch in enumerate(case.branches):
        mine = packed.read[packed.reader == place]
        assert len(mine) == len(branch.told.outputs)
        marks = np.flatnonzero((packed.ids == tokens().mark("<score>")) & (packed.branch == place))
        assert len(marks) == 1
        assert (mine > marks[0]).all()
        assert packed.part[packed.reader == place] == pytest.approx(branch.parts, nan_ok=False)


def test_where_only_the_whole_score_is_known_the_labels_of_outputs_add_up_to_it() -> None:
    case = max(cases(), key=lambda one: max(len(branch.parts) for branch in one.branches))
    goals = len(case.view.goals)
    assert goals > 1
    whole = next(branch for branch in case.branches if len(branch.parts) == goals)
    kept = replace(whole.told, outputs=whole.told.outputs[:1])
    for unknown in (
        replace(whole, parts=(math.nan,) * goals, score=0.8),
        replace(whole, parts=(math.nan,), told=kept, score=0.8),  # the others were left out
        replace(whole, parts=(0.9, *(math.nan,) * (goals - 1)), score=0.8),
    ):
        shares = [case.weights[output.goal] for output in unknown.told.outputs]
        labels = parts_of(unknown, case.weights)
        assert sum(share * label for share, label in zip(shares, labels, strict=True)) == pytest.approx(0.8)
        assert all(part == label for part, label in zip(unknown.parts, labels, strict=True) if not math.isnan(part))
    assert parts_of(whole, case.weights) == list(whole.parts)


def test_plans_see_the_prompt_and_themselves_only() -> None:
    branch = np.array([-1, -1, 0, 0, 1, 1])
    shown = tree_mask(branch, 7)
    assert shown.tolist() == [
        [True, False, False, False, False, False, False],
        [True, True, False, False, False, False, False],
        [True, True, True, False, False, False, False],
        [True, True, True, True, False, False, False],
        [True, True, False, False, True, False, False],
        [True, True, False, False, True, True, False],
        [False, False, False, False, False, False, True],
    ]


def test_a_batch_says_the_same_as_its_examples() -> None:
    packed = [pack(as_is(case, 0.8, 3), renderer()) for case in cases()[:3]]
    batch = batch_of(packed, tokens().pad)
    flat = batch["ids"].reshape(-1)
    assert batch["tokens"] == sum(len(one) for one in packed)
    expected = np.concatenate([one.ids[one.at] for one in packed])
    assert (flat[batch["at"]].numpy() == expected).all()
    assert batch["of"].tolist() == [row for row, one in enumerate(packed) for _ in one.score]
