"""Candidate sets as decisions: returns are utilities, nothing of the outcome is in what is seen."""

from dataclasses import replace

import numpy as np
import pytest

from catp.planlang.money import Money
from catp.training.baselines.chooser import Prices
from catp.training.critic.batches import Decisions, plans_at, steps_at, targets_of
from catp.training.critic.decisions import Coder, toolset_of
from catp.training.data.toolset import ToolInfo, ToolInput, Toolset
from catp.training.evaluate.candidates import CandidateSet, Option, StepUse
from tests.training.baselines.pages import pages, scrambled
from tests.training.critic.making import coder_of, tiny

SETS = pages(20)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.8, 1.0])
def test_returns_are_utilities(alpha: float) -> None:
    data = Decisions.of(map(coder_of(SETS).tree, SETS))
    returns = np.add.reduceat(data.rewards(alpha), data.start)
    assert returns == pytest.approx(np.concatenate([one.utility(alpha) for one in SETS]), abs=1e-9)


def test_what_is_seen_does_not_depend_on_outcomes() -> None:
    coder = coder_of(SETS)
    for one, other in zip(SETS, scrambled(SETS), strict=True):
        for shown in (other, one.hidden()):
            mine, its = coder.tree(one), coder.tree(shown)
            assert mine.states.tolist() == its.states.tolist()
            assert [p and p.actions.tolist() for p in mine.paths] == [p and p.actions.tolist() for p in its.paths]


def test_logged_actions_are_allowed_and_shared_states_are_stored_once() -> None:
    coder = coder_of(SETS)
    actions = coder.space.layout.actions
    for one in SETS:
        tree = coder.tree(one)
        prefixes = set()
        for path in tree.paths:
            assert path is not None
            assert tree.states[path.states, -actions:][np.arange(len(path.actions)), path.actions].all()
            prefixes |= {tuple(path.actions[:at].tolist()) for at in range(len(path.actions))}
        assert len(tree.states) == len(prefixes)
    assert not coder.left_out


def test_slots_tell_which_tool_they_hold() -> None:
    """After `denoise` has closed, the slot behind the input holds its number; tool slots hold theirs from the start."""
    coder = coder_of(SETS)
    space = coder.space
    one = next(one for one in SETS if any(o.tools[0] == "denoise" for o in one.options))
    place = next(place for place, o in enumerate(one.options) if o.tools[0] == "denoise")
    path = coder.tree(one).paths[place]
    assert path is not None
    first, after = coder.tree(one).states[path.states[[0, 3]]]
    at = space.layout.width - space.layout.actions
    offered = sorted({tool for option in one.options for tool in option.tools})
    assert first[at : at + 5].tolist() == [0] * 5
    assert first[at + 5 : at + 5 + len(offered)].tolist() == [space.numbers[tool] for tool in offered]
    assert after[at : at + 5].tolist() == [0, space.numbers["denoise"], 0, 0, 0]


def test_prices_follow_the_price_list() -> None:
    coder = coder_of(SETS)
    one = SETS[0].hidden()
    plain = coder.expected(one)
    assert plain * one.price_scale == pytest.approx(SETS[0].prices, rel=1e-3)  # exactly linear in this world
    assert coder.expected(one, Prices({t: 3.0 for o in one.options for t in o.tools})) == pytest.approx(3 * plain)
    stranger = replace(one, options=(Option("x", "x", (StepUse("new", ()),)),))
    assert np.isnan(coder.expected(stranger)).all()
    assert coder.expected(stranger, Prices(listed={"new": 5e5})) == pytest.approx([0.5])
    dear = coder.tree(one, Prices({t: 3.0 for o in one.options for t in o.tools})).states
    assert (dear != coder.tree(one).states).any()


def test_plans_that_do_not_fit_the_slots_are_left_out_and_counted() -> None:
    coder = coder_of(SETS, slots=3)  # the input and two steps
    trees = [coder.tree(one) for one in SETS]
    for one, tree in zip(SETS, trees, strict=True):
        assert [path is None for path in tree.paths] == [len(option.steps) > 2 for option in one.options]
    assert coder.left_out == {"more than 3 inputs and steps": sum(len(o.steps) > 2 for s in SETS for o in s.options)}
    with pytest.raises(ValueError, match="none of the plans can be told"):
        Decisions.of([coder_of(SETS, slots=2).tree(SETS[0])])


TYPED = Toolset(id="t", tools=[
    ToolInfo(name="read", inputs=[ToolInput(name="image", type="image")], output="text"),
    ToolInfo(name="mood", inputs=[ToolInput(name="text", type="text")], output="json"),
])  # fmt: skip


def test_first_steps_read_the_input_that_fits_and_is_read_least() -> None:
    both = (StepUse("mood", ()), StepUse("read", ()), StepUse("read", ()), StepUse("mood", (2,)))
    one = CandidateSet(
        "s", "g", "made", (Option("o", "p", both, 0.5, 10.0),), Money(100), wanted=("text", "json"),
        input_types=("image", "text", "image"), sizes=(5, 5, 5), conditions=("", "", ""),
    )  # fmt: skip
    coder = Coder.fit([one], TYPED, tools=2, slots=8)
    (path,) = coder.tree(one).paths
    assert path is not None
    mood, read, link, end, stop = 0, 1, 2, 10, 11
    assert path.actions.tolist() == [
        mood, link + 1, end, read, link, end, read, link + 2, end, mood, link + 5, end, stop,
    ]  # fmt: skip


def test_an_optional_output_may_be_left_out() -> None:
    """The plan gives only one of two wanted types; it was measured, so its STOP is allowed."""
    short = Option("o", "p", (StepUse("read", ()),), 0.5, 10.0)
    one = CandidateSet(
        "s", "g", "made", (short,), Money(100), wanted=("text", "json"), input_types=("image",), sizes=(5,),
        conditions=("",),
    )  # fmt: skip
    tree = Coder.fit([one], TYPED, tools=2, slots=4).tree(one)
    (path,) = tree.paths
    assert path is not None
    assert tree.states[path.states[-1], -1] == 1


def test_batches_look_ahead_within_a_plan() -> None:
    """Against a loop over every decision: reward to come, what is seen then, and whether the plan is over."""
    config = tiny(batch=200, n_steps=3, alphas=(0.7,), ends=0.5)
    data = Decisions.of(map(coder_of(SETS).tree, SETS))
    batch = steps_at(data, config, 4)
    rewards = data.rewards(0.7)
    expected: dict[tuple[bytes, int], list[tuple[float, bool, int]]] = {}
    for start, length in zip(data.start, data.length, strict=True):
        for at in range(start, start + length):
            end = min(at + 3, start + length)
            seen = data.states[data.state[at]].copy()
            seen[0] = 0.7
            expected.setdefault((seen.tobytes(), int(data.action[at])), []).append(
                (float(rewards[at:end].sum()), end == start + length, end - at)
            )
    for row in range(200):
        key = (batch.observations[row].tobytes(), int(batch.actions[row, 0]))
        reward, over, ahead = batch.rewards[row, 0], bool(batch.terminals[row, 0]), int(batch.intervals[row, 0])
        assert any(abs(r - reward) < 1e-5 and o == over and n == ahead for r, o, n in expected[key])
        assert not batch.next_observations[row].any() or not over
    closing = data.action[(data.start + data.length - 1)[0]]
    assert (batch.actions[:100, 0] == closing).all()  # STOP
    again = steps_at(data, config, 4)
    assert (again.observations == batch.observations).all()
    assert (steps_at(data, config, 5).observations != batch.observations).any()


def test_whole_plans_are_padded_in_front_and_know_what_they_still_return() -> None:
    config = tiny(batch=64, alphas=(0.5,))
    data = Decisions.of(map(coder_of(SETS).tree, SETS))
    batch = plans_at(data, config, 0)
    utilities = {round(float(u), 5) for one in SETS for u in one.utility(0.5)}
    for row in range(len(batch.masks)):
        first = int(np.argmax(batch.masks[row]))
        assert batch.masks[row, first:].all()
        assert not batch.observations[row, :first].any()
        assert round(float(batch.returns_to_go[row, first, 0]), 5) in utilities
        assert batch.timesteps[row, first:].tolist() == list(range(1, len(batch.masks[row]) - first + 1))


def test_targets_are_high_but_reached() -> None:
    data = Decisions.of(map(coder_of(SETS).tree, SETS))
    all_ = np.concatenate([one.utility(0.8) for one in SETS])
    assert targets_of(data, [0.8])[0.8] == pytest.approx(np.quantile(all_, 0.9))


def test_prices_out_of_proportion_are_refused() -> None:
    one = replace(SETS[0], price_scale=Money(1))
    with pytest.raises(ValueError, match="times the price scale"):
        Decisions.of([coder_of([one]).tree(one)])


def test_toolsets_of_known_data() -> None:
    assert toolset_of(SETS) is None
    known = toolset_of([replace(SETS[0], dataset="opencatp/seq")])
    assert known is not None
    assert known.tools
