"""Plans as decisions: what is encoded, what the mask allows, and returns that are utilities."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catp.training.data import opencatp
from catp.training.data.mdp import Encoder, Episode, PlanState, encode
from catp.training.data.mdp_layout import Layout, Prices
from catp.training.data.opencatp_tools import toolset
from catp.training.data.rules_graph import graph_problems
from catp.training.data.rules_text import Offer
from catp.training.data.trajectory import Event, Plan, PlanNode, Trajectory
from tests.training.data.mdp_records import JOIN, MAP, SHORT, TOOLS, record

ORDER = ["clock", "denoise", "mood", "ocr", "tally", "vote"]
"""The tools by slot."""


def episodes(*records: Trajectory, **options: Any) -> tuple[Encoder, list[Episode]]:
    encoder, found = encode(records, TOOLS, **{"tools": 6, "slots": 8, **options})
    return encoder, list(found)


def named(encoder: Encoder, actions: np.ndarray) -> list[str]:
    layout = encoder.layout
    names = [*ORDER, *map(str, range(layout.slots)), "END", "STOP"]
    return [names[action] for action in actions]


def utility(one: Trajectory, alpha: float) -> float:
    scale = one.objective.price_scale_usd
    assert scale is not None
    score = one.outcome.score or 0.0
    return alpha * score - (1 - alpha) * float((one.outcome.price_usd or Decimal(0)) / scale)


def test_a_join_is_told_link_by_link() -> None:
    encoder, (episode,) = episodes(record(JOIN))
    assert named(encoder, episode.actions) == [
        "denoise", "0", "END", "ocr", "1", "END", "ocr", "0", "END", "vote", "2", "3", "END", "mood", "4", "END",
        "STOP",
    ]  # fmt: skip
    assert not encoder.left_out


def test_a_map_makes_lists() -> None:
    encoder, (episode,) = episodes(record(MAP, wanted=["json"]))
    assert named(encoder, episode.actions)[-4:] == ["tally", "3", "END", "STOP"]
    layout = encoder.layout
    types = [f"type.{kind}" for kind in layout.types]
    last = episode.final
    held = [next((kind for kind in types if last[layout.index[f"slot{j}.{kind}"]]), None) for j in range(6)]
    assert held[:2] == ["type.list[image]", "type.list[image]"]  # the input, and what `denoise` makes of each
    assert held[4:] == ["type.json", None]


def test_rewards_add_up_to_the_utility() -> None:
    prices = {"clean": "0.000000001", "one": "0.013", "two": "0.1", "both": "0", "feel": "0.0700001"}
    given = record(JOIN, prices=prices, price="0.2")  # 0.0169999 more than the steps: planning
    _, (episode,) = episodes(given)
    ends = [i for i, action in enumerate(episode.actions) if action == 14]
    for alpha in (0.0, 0.3, 0.5, 1.0):
        observations, rewards = episode.at(alpha)
        assert observations.dtype == rewards.dtype == np.float32
        assert observations[:, 0] == pytest.approx(np.full(len(rewards), alpha))
        assert float(rewards.sum()) == pytest.approx(utility(given, alpha), abs=1e-6)
        assert episode.utility(alpha) == pytest.approx(utility(given, alpha), abs=1e-9)
        paid = [-(1 - alpha) * float(price) / 0.2 for price in prices.values()]
        assert rewards[ends] == pytest.approx(paid, abs=1e-6)
        assert set(np.flatnonzero(rewards)) <= {*ends, len(rewards) - 1}


def test_a_failed_run_pays_and_earns_nothing() -> None:
    given = record(SHORT, score=None, status="failed")
    _, (episode,) = episodes(given)
    assert episode.score == 0
    assert episode.utility(0.5) == pytest.approx(-0.5 * 0.02 / 0.2)


def test_masks_hold_what_the_types_allow() -> None:
    encoder, (episode,) = episodes(record(JOIN))
    layout = encoder.layout
    state = encoder.state(record(JOIN), ORDER)

    def allowed() -> list[str]:
        return named(encoder, np.flatnonzero(state.mask()))

    def take(*names: str) -> None:
        every = [*ORDER, *map(str, range(layout.slots)), "END", "STOP"]
        for name in names:
            state.step(every.index(name))

    assert allowed() == ["clock", "denoise", "ocr"]  # there is no text yet, and nothing to stop with
    take("ocr")
    assert allowed() == ["0"]  # END only once it has an image
    take("0")
    assert allowed() == ["END"]
    with pytest.raises(ValueError, match="not allowed"):
        take("0")
    take("END")
    assert allowed() == ["clock", "denoise", "mood", "ocr", "tally", "vote"]  # text is there, mood is not
    take("clock", "END", "mood")
    assert allowed() == ["1"]  # the reading's text; not the image, nor the number
    take("1", "END")
    assert allowed()[-1] == "STOP"
    take("vote")
    assert allowed() == ["1", "3"]
    take("1", "3", "END", "STOP")
    assert state.done
    assert not state.mask().any()
    for observation, action in zip(episode.observations, episode.actions, strict=True):
        assert observation[-layout.actions :][action] == 1


def test_a_plan_with_no_free_slot_cannot_grow() -> None:
    encoder, _ = episodes(record(SHORT), slots=3)
    state = encoder.state(record(SHORT), ORDER)
    for action in (1, 6, 9, 1, 6, 9):  # denoise twice
        state.step(action)
    assert len(state.slots) == 3
    assert not state.mask().any()  # and it is not complete, either: a dead end


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (record(SHORT, score=None), "the score is not known"),
        (record(SHORT, price_usd=None), "the price is not known"),
        (record(JOIN), "more than 5 inputs and steps"),
        (record(SHORT, wanted=["list[image]"]), "does not give all that was wanted"),
        (record("in page: image\na = mood(page)\nout a"), "a tool that nothing fits"),
        (record("in page: image\na = ocr(page)\nb = mood(page)\nout a, b"), "types that do not fit"),
        (
            record("in page: image\nin other: image\na = ocr(image=page)\nout a").model_copy(
                update={"plan": Plan(nodes=[PlanNode(id="a", tool="ocr")], edges=[["input", "a"]])}
            ),
            "an input that the request does not name",
        ),
        (
            record(SHORT).model_copy(
                update={
                    "plan": Plan(
                        nodes=[PlanNode(id="a", tool="ocr"), PlanNode(id="b", tool="ocr")],
                        edges=[["a", "b"], ["b", "a"]],
                    )
                }
            ),
            "cycle",
        ),
    ],
)
def test_what_cannot_be_told_is_counted(given: Trajectory, reason: str) -> None:
    good = record(SHORT, "good")
    encoder, found = episodes(given, good, slots=5)
    assert [episode.id for episode in found] == ["good"]
    ((why, count),) = encoder.left_out.items()
    assert reason in why
    assert count == 1


def test_a_record_without_a_price_scale_is_an_error() -> None:
    bare = record(SHORT).model_copy(update={"objective": record(SHORT).objective.model_copy(
        update={"price_scale_usd": None})})  # fmt: skip
    with pytest.raises(ValueError, match=r"r-0: no objective\.price_scale_usd"):
        episodes(bare)
    _, (episode,) = episodes(bare, price_scale=Decimal("0.1"))
    assert episode.utility(0.0) == pytest.approx(-0.2)


def test_a_toolset_that_is_not_known_masks_less() -> None:
    encoder, found = encode([record(JOIN)], None, tools=6, slots=8)
    (episode,) = found
    before = [sum(row[-encoder.layout.actions :]) for row in episode.observations]
    known, (other,) = episodes(record(JOIN))
    after = [sum(row[-known.layout.actions :]) for row in other.observations]
    assert all(a >= 1 for a in before)
    assert len(before) == len(after)


def test_features_say_what_is_where() -> None:
    encoder, (episode,) = episodes(record(JOIN))
    layout = encoder.layout
    assert len(layout.features) == len(set(layout.features)) == episode.observations.shape[1]
    at = layout.index
    first, before_end = episode.observations[0], episode.observations[11]
    assert first[at["wanted.text"]] == first[at["missing.text"]] == 1
    assert episode.final[at["missing.text"]] == episode.final[at["missing.Mood"]] == 0
    assert first[at["slot0.condition.noisy"]] == first[at["slot0.type.image"]] == 1
    assert first[at["slot0.units"]] == pytest.approx(np.log1p(1000) / 20)
    assert before_end[at["tool5.open"]] == before_end[at["slot2.linked"]] == 1
    assert before_end[at["slot3.linked"]] == 0
    assert first[at["tool3.accuracy"]] == pytest.approx(0.8)
    assert first[at["tool3.takes.image"]] == first[at["tool3.gives.Reading"]] == 1
    assert first[at["tool0.priced"]] == 0  # no plan used it
    assert first[at["tool3.price"]] == pytest.approx(1 + np.log10(0.01 / 0.2) / 6, abs=1e-6)
    assert first[at["slot1.taken"]] == 0
    assert episode.final[at["slot5.depth"]] == pytest.approx(4 / 8)
    assert np.isfinite(episode.observations).all()


def test_prices_follow_size() -> None:
    def sized(pixels: int, price: str) -> Trajectory:
        one = record("in page: image\none = ocr(page)\nout one", prices={"one": price})
        (given,) = one.request.inputs
        changed = given.model_copy(update={"size": {"pixels": pixels}})
        return one.model_copy(update={"request": one.request.model_copy(update={"inputs": [changed]})})

    prices = Prices.fit([sized(100, "0.001"), sized(200, "0.002"), sized(400, "0.004")])
    assert prices.expected("ocr", sized(1000, "0")) == pytest.approx(0.01e9)
    assert np.isnan(prices.expected("vote", sized(1, "0")))
    falling = Prices.fit([sized(100, "0.002"), sized(200, "0.001"), sized(300, "0.0")])
    assert falling.expected("ocr", sized(1000, "0")) == 0


def random_plan(encoder: Encoder, asked: Trajectory, rng: np.random.Generator) -> tuple[PlanState, Trajectory]:
    """Walk at random under the mask; return the state and the plan that was walked, as a record."""
    state, layout = encoder.state(asked, ORDER), encoder.layout
    inputs = len(state.slots)
    names = [one.name or "" for one in asked.request.inputs]
    nodes: list[PlanNode] = []
    edges: list[list[str]] = []
    while (mask := state.mask()).any():
        action = int(rng.choice(np.flatnonzero(mask)))
        state.step(action)
        if action < layout.tools:
            nodes.append(PlanNode(id=f"n{len(nodes)}", tool=ORDER[action]))
        elif action < layout.end:
            j = action - layout.tools
            edges.append([names[j] if j < inputs else f"n{j - inputs}", nodes[-1].id])
    events = [Event(node=node.id, element=0, status="ok", start_ms=0, end_ms=1) for node in nodes]
    return state, asked.model_copy(update={"plan": Plan(nodes=nodes, edges=edges), "events": events})


@pytest.mark.parametrize("asked", [record(JOIN), record(MAP, wanted=["json"])])
def test_the_validator_agrees_with_random_plans(asked: Trajectory) -> None:
    """Whatever the mask lets through, the validator's own reading of the types finds nothing wrong with."""
    encoder, _ = episodes(asked)
    rng = np.random.default_rng(7)
    finished, offer = 0, Offer(TOOLS.view())
    for _ in range(150):
        state, walked = random_plan(encoder, asked, rng)
        finished += state.done
        assert [str(p) for p in graph_problems(walked, offer)] == []
    assert finished > 20


def test_all_of_opencatp_can_be_told(shared_opencatp: Path) -> None:
    records = list(opencatp.read(shared_opencatp))[::4]
    encoder, found = encode(records, toolset(), tools=8, slots=8)
    by_id = {one.trajectory_id: one for one in records}
    count = 0
    for episode in found:
        count += 1
        masks = episode.observations[:, -encoder.layout.actions :]
        assert masks[np.arange(len(episode.actions)), episode.actions].all()
        for alpha in (0.5, 0.95):
            given = by_id[episode.id]
            assert float(episode.at(alpha)[1].sum()) == pytest.approx(utility(given, alpha), abs=1e-6)
    assert count == len(records)
    assert not encoder.left_out


def test_layouts_are_written_down() -> None:
    layout = Layout.fitting([record(JOIN)], TOOLS)
    assert layout.actions == 24 + 12 + 2
    assert (layout.end, layout.stop) == (36, 37)
    assert layout.types[-1] == "other"
    assert layout.type_index("never seen") == len(layout.types) - 1
