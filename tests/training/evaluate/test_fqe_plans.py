"""Fitted Q evaluation on real episodes of the plan-construction MDP."""

from itertools import permutations

import numpy as np
import pytest

from catp.training.data.mdp import Encoder, Episode, encode
from catp.training.data.trajectory import Trajectory
from catp.training.evaluate.fqe_plans import choosing, of_plans

ALPHA = 0.6
PRICES = {"a": "0.1", "b": "0.3", "c": "0.2"}


def record(number: int, tools: tuple[str, ...]) -> Trajectory:
    """A chain of tools on one input; the more of b it has, the better."""
    names = [f"n{place}" for place in range(len(tools))]
    score = 0.3 + 0.5 * ("b" in tools) + 0.1 * (tools[-1] == "c")
    return Trajectory.from_json({
        "schema": "catp.trajectory/1", "trajectory_id": f"{number}-{''.join(tools)}", "dataset": "made",
        "group": f"g{number}", "candidate_set": f"s{number}",
        "request": {"text": "do it", "inputs": [{"type": "text", "chars": 100}], "wanted": []},
        "toolset": "made", "objective": {"price_scale_usd": "1"},
        "plan": {
            "nodes": [{"id": name, "tool": tool} for name, tool in zip(names, tools, strict=True)],
            "edges": [[source, name] for source, name in zip(["input", *names], names, strict=False)],
        },
        "events": [
            {"node": name, "status": "ok", "start_ms": n, "end_ms": n + 1, "price_usd": PRICES[tool]}
            for n, (name, tool) in enumerate(zip(names, tools, strict=True))
        ],
        "outcome": {"status": "ok", "score": score, "price_usd": f"{sum(float(PRICES[t]) for t in tools):.1f}"},
    })  # fmt: skip


def measured(sets: int) -> tuple[Encoder, list[Episode]]:
    """All chains of one to three different tools, for each input."""
    plans = [tools for n in (1, 2, 3) for tools in permutations("abc", n)]
    encoder, episodes = encode([record(s, plan) for s in range(sets) for plan in plans], tools=3, slots=5)
    return encoder, list(episodes)


def wanting(plans: list[Episode], tools: str) -> dict[str, float]:
    return {plan.id: float(plan.id.endswith(f"-{tools}")) for plan in plans}


def test_the_value_of_a_choice_among_measured_plans_is_its_utility() -> None:
    """FQE with a table instead of networks, which is exact: "always b, then c" is worth 0.6 * 0.9 - 0.4 * 0.5."""
    encoder, plans = measured(2)
    episodes = of_plans(plans, encoder.layout, ALPHA, choosing(plans, wanting(plans, "bc")))
    states = [row.tobytes() for row in episodes.observations]
    q: dict[tuple[bytes, int], float] = {}
    for _ in range(12):  # plans have at most 10 steps
        targets: dict[tuple[bytes, int], list[float]] = {}
        for at, (state, action) in enumerate(zip(states, episodes.actions, strict=True)):
            later = (
                0.0 if episodes.terminals[at] else q.get((states[at + 1], int(episodes.policy_actions[at + 1])), 0.0)
            )
            targets.setdefault((state, int(action)), []).append(float(episodes.rewards[at]) + later)
        q = {key: float(np.mean(found)) for key, found in targets.items()}
    starts = [q[states[at], int(episodes.policy_actions[at])] for at in episodes.starts]
    assert starts == pytest.approx([0.34] * len(plans), abs=1e-6)


def test_returns_are_utilities_and_episodes_keep_their_bounds() -> None:
    encoder, plans = measured(2)
    episodes = of_plans(plans, encoder.layout, ALPHA, choosing(plans, {}))
    returns = np.add.reduceat(episodes.rewards, episodes.starts)
    assert returns == pytest.approx([plan.utility(ALPHA) for plan in plans], abs=1e-6)
    assert (episodes.observations[:, 0] == np.float32(ALPHA)).all()
    assert episodes.n_actions == encoder.layout.actions


def test_choosing_builds_its_plan_to_the_end_and_completes_others() -> None:
    _, plans = measured(1)
    named = {plan.id.partition("-")[2]: plan for plan in plans}
    policy = choosing(plans, wanting(plans, "bc"))
    own = named["bc"]
    assert policy(own, own.observations).tolist() == own.actions.tolist()
    other = policy(named["bac"], named["bac"].observations)
    assert other[:3].tolist() == own.actions[:3].tolist()  # b, linked, closed: as it would itself
    assert other[3] == own.actions[3] != named["bac"].actions[3]  # then c, not a


def test_policies_that_break_the_mask_are_refused() -> None:
    encoder, plans = measured(1)
    with pytest.raises(ValueError, match="step 0: the policy does 8, which the mask forbids"):
        of_plans(plans, encoder.layout, ALPHA, lambda plan, seen: np.full(len(seen), encoder.layout.end))
    with pytest.raises(ValueError, match="but the policy answered"):
        of_plans(plans, encoder.layout, ALPHA, lambda plan, seen: plan.actions[1:])
    with pytest.raises(ValueError, match="no logged plans"):
        of_plans([], encoder.layout, ALPHA, choosing(plans, {}))
    with pytest.raises(ValueError, match="is not among the measured ones"):
        of_plans(plans, encoder.layout, ALPHA, choosing(plans[:2], {}))
