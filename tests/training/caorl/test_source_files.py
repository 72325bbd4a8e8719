"""Trajectory files of any tools: graphs and texts as plans, fitted prices, and what cannot be learned from."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catp.planlang.nodes import ToolName
from catp.planlang.printer import to_text
from catp.planlang.registry_view import Size, ValueFacts
from catp.planlang.types import parse_type
from catp.planlang.vocabulary import Vocabulary
from catp.training.bench.joins import bench_catalogue
from catp.training.caorl.cases import CaseMaker
from catp.training.caorl.config import DataConfig, MethodConfig
from catp.training.caorl.examples import as_is
from catp.training.caorl.rating import rate
from catp.training.caorl.source_files import FileRequests
from catp.training.caorl.sources import load_cases
from catp.training.data.files import read
from catp.training.data.toolset import Toolset
from catp.training.data.trajectory import Split, Trajectory
from catp.training.evaluate.candidates import candidate_sets
from catp.training.policy.checkpoint import new, save
from catp.training.policy.chooser import PolicyChooser
from catp.training.prompt.render import PromptStyle, Renderer
from tests.training.caorl.cases_making import CONFIG, records

TOOLS = {
    "id": "pictures", "tools": [
        {"name": "clean", "input": "image", "output": "image"},
        {"name": "sharpen", "input": "image", "output": "image"},
        {"name": "caption", "input": "image", "output": "text"},
        {"name": "label", "input": "image", "output": "text"},
    ],
}  # fmt: skip
"""A toolset in OpenCATP's form."""

PRICES = {"clean": "0.02", "sharpen": "0.05", "caption": "0.1", "label": "0.01"}


def record(
    number: int, tools: Sequence[tuple[str, str]], *, score: float | None = 0.5, set_: str = "a"
) -> dict[str, Any]:
    """A plan of (tool, where its argument comes from), as OpenCATP's pool has it."""
    nodes = [{"id": f"n{place}", "tool": tool} for place, (tool, _) in enumerate(tools, 1)]
    events = [
        {"node": node["id"], "status": "ok", "start_ms": 10.0 * k, "end_ms": 10.0 * k + 10,
         "price_usd": PRICES[node["tool"]]}
        for k, node in enumerate(nodes)
    ]  # fmt: skip
    total = f"{sum(float(PRICES[tool]) for tool, _ in tools):.4f}"
    return {
        "schema": "catp.trajectory/1", "trajectory_id": f"{set_}-{number}", "dataset": "somebody/pictures",
        "group": set_, "candidate_set": set_,
        "request": {"text": "say what it shows", "inputs": [{"type": "image", "pixels": 90000}]},
        "toolset": "pictures", "objective": {"price_scale_usd": 0.5}, "policy": {},
        "plan": {"nodes": nodes, "edges": [[source, f"n{k}"] for k, (_, source) in enumerate(tools, 1)]},
        "events": events, "outcome": {"status": "ok", "score": score, "price_usd": total, "latency_ms": 30.0},
    }  # fmt: skip


FORK = [("clean", "input"), ("caption", "n1"), ("sharpen", "n1")]
PLAIN = [("caption", "input")]


def written(folder: Path, found: Sequence[dict[str, Any]], toolset: Any = TOOLS) -> Path:
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in found))
    if toolset is not None:
        (folder / "toolset.json").write_text(json.dumps(toolset))
    return path


def test_graphs_become_plans_whose_ends_are_the_outputs(tmp_path: Path) -> None:
    path = written(tmp_path, [record(0, FORK), record(1, PLAIN)])
    requests = FileRequests([path], 64)
    fork, plain = (requests.plan(one) for one in read(path))
    assert to_text(fork).splitlines() == [
        "in input: image", "n1 = clean(input)", "n2 = caption(n1)", "n3 = sharpen(n1)",
        "out image_1 = n3?, text_1 = n2",
    ]  # fmt: skip
    request = requests.request("a")
    assert request is not None
    assert [(w.name, str(w.type), w.optional, w.capability) for w in request.wanted] == [
        ("image_1", "image", True, ("sharpen",)), ("text_1", "text", False, ("caption",)),
    ]  # fmt: skip
    assert [out.name for out in plain.outputs] == ["text_1"]


def test_prices_are_fitted_and_unknown_stays_unknown(tmp_path: Path) -> None:
    requests = FileRequests([written(tmp_path, [record(0, FORK), record(1, PLAIN)])], 64)
    request = requests.request("a")
    assert request is not None
    image = {"input": ValueFacts(parse_type("image"), Size(90000))}
    known = request.estimator.estimate(ToolName("sharpen"), image)
    assert known.price.expected == 50_000_000
    assert known.accuracy is None
    assert known.output.type == parse_type("image")
    unmeasured = request.estimator.estimate(ToolName("label"), image)
    assert unmeasured.price.expected is None
    assert not unmeasured.timed
    with pytest.raises(KeyError):
        request.estimator.estimate(ToolName("nobody"), image)


def test_price_depends_on_what_came_before(tmp_path: Path) -> None:
    found = [record(k, [("clean", "input"), ("caption", "n1")], set_=f"s{k}") for k in range(12)]
    found += [record(k, PLAIN, set_=f"p{k}") for k in range(12)]
    for one in found[:12]:  # what was cleaned is dear to caption
        one["events"][1]["price_usd"] = "0.3"
        one["outcome"]["price_usd"] = "0.32"
    requests = FileRequests([written(tmp_path, found)], 64)
    maker = CaseMaker(requests, Vocabulary(), requests.plan)
    prices = {case.id: case.branches[0].told.steps[-1].price for case in maker.cases(read(tmp_path / "mine.jsonl"))}
    assert (prices["s0"] or 0) > 2 * (prices["p0"] or 0) > 0


def test_the_whole_score_is_the_only_part(tmp_path: Path) -> None:
    path = written(tmp_path, [record(0, FORK, score=0.25), record(1, PLAIN, score=0.75)])
    ((case,), digests) = load_cases(DataConfig(paths=(str(path),)), Vocabulary(), "train")
    assert [branch.score for branch in case.branches] == [0.25, 0.75]
    assert all(np.isnan(part) for branch in case.branches for part in branch.parts)
    assert len(digests) == 1


def test_missing_scores_are_left_out_and_told(tmp_path: Path) -> None:
    path = written(tmp_path, [record(0, FORK), record(1, PLAIN, score=None)])
    told: list[str] = []
    ((case,), _) = load_cases(DataConfig(paths=(str(path),)), Vocabulary(), "train", told.append)
    assert len(case.branches) == 1
    assert f"{path}: left out 1 plans: no score" in told


def test_if_all_is_left_out_the_reason_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, [record(0, FORK, score=None)])
    with pytest.raises(ValueError, match=r"all plans were left out: no score \(1\).*catp data validate"):
        load_cases(DataConfig(paths=(str(path),)), Vocabulary(), "train")


def test_a_missing_toolset_is_named_with_its_place(tmp_path: Path) -> None:
    path = written(tmp_path, [record(0, FORK)], None)
    with pytest.raises(ValueError, match=r"mine\.jsonl: record a-0: toolset 'pictures'.*toolsets/pictures\.json"):
        FileRequests([path], 64)


def test_a_toolset_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    path = written(tmp_path, [record(0, FORK)], {"id": "pictures"})
    with pytest.raises(ValueError, match=r"record a-0: toolset 'pictures'.*toolset\.json"):
        FileRequests([path], 64)


def test_a_tool_that_is_not_in_the_toolset_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, [record(0, FORK)], {**TOOLS, "tools": TOOLS["tools"][:2]})
    with pytest.raises(ValueError, match=r"'caption' is not in the toolset"):
        load_cases(DataConfig(paths=(str(path),)), Vocabulary(), "train")


def test_more_tools_than_slots(tmp_path: Path) -> None:
    path = written(tmp_path, [record(0, FORK), record(1, PLAIN)])
    with pytest.raises(ValueError, match=r"left out: no request or no price scale"):
        load_cases(DataConfig(paths=(str(path),)), Vocabulary(2), "train")


def test_what_is_no_trajectory_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text('{"question": "what is this?"}\n')
    with pytest.raises(ValueError, match=r"other\.jsonl:1"):
        load_cases(DataConfig(paths=(str(path),)), Vocabulary(), "train")


def _own(folder: Path) -> Path:
    """Plans as text with the tools beside them, as `catp data from-store` leaves them."""
    tools = Toolset.of(bench_catalogue(), "own")
    tools.save(folder / "toolset.json")
    path = folder / "own.jsonl"
    split = Split(name="train")
    mine: list[Trajectory] = [
        one.model_copy(update={"candidate_set": f"own-{one.candidate_set}", "toolset": "own", "split": split})
        for one in records()
    ]
    path.write_text("".join(one.to_line() + "\n" for one in mine))
    return path


def test_texts_with_a_toolset_beside_them(tmp_path: Path) -> None:
    found, _ = load_cases(DataConfig(paths=(str(_own(tmp_path)),)), Vocabulary(), "train")
    by_id = {one.trajectory_id: one for one in records()}
    assert len(found) == len({one.candidate_set for one in records()})
    near = []
    for case in found:
        for branch in case.branches:
            parts = by_id[branch.id].outcome.quality_parts or {}
            measured = [part for part in branch.parts if not np.isnan(part)]
            assert sorted(measured) == sorted(parts[name] for name in parts if name in parts)[: len(measured)] or (
                set(measured) <= set(parts.values())
            )
            near.append(sum(step.price or 0.0 for step in branch.told.steps) / branch.price)
    assert 0.8 < float(np.median(near)) < 1.25


def test_the_chooser_rates_what_was_learned_from(tmp_path: Path) -> None:
    """Likelihoods of the chooser are those of the training examples: same request, same plans."""
    path = _own(tmp_path)
    config = CONFIG.model_copy(update={"method": MethodConfig(name="bc")})
    policy = new(config, ["page image text"])
    save(policy, tmp_path / "model")
    # A toolset file does not tell defaults, so plans with constants cannot be spelled: only the others are rated here.
    everything = FileRequests([path], 64)
    made = CaseMaker(everything, Vocabulary(), everything.plan).cases(read(path))
    spelled = {branch.id for case in made for branch in case.branches}
    few = path.with_name("few.jsonl")
    few.write_text("".join(one.to_line() + "\n" for one in read(path) if one.trajectory_id in spelled))
    requests = FileRequests([few], 64)
    chooser = PolicyChooser(tmp_path / "model", requests)
    sets = list(candidate_sets(read(few)))
    chooser.fit(sets)
    renderer = Renderer(chooser.policy.tokens, PromptStyle(2, 3, 6))
    cases = CaseMaker(requests, Vocabulary(), requests.plan).cases(read(few))
    whole = list(zip(cases, sets, strict=True))
    assert len(whole) >= 2
    assert all(len(case.branches) == len(one) for case, one in whole)
    for case, one in whole:
        (rated,) = rate(chooser.policy.model, renderer, [as_is(case, 0.8)])
        chosen = chooser.choose(one.hidden(), 0.8)
        assert chosen.sum() == pytest.approx(1.0)
        likeliest = case.branches[int(np.argmax(rated.logpi))].id
        assert one.options[int(np.argmax(chosen))].id == likeliest
    assert chooser.predict(whole[0][1].hidden()) is None


def test_a_set_that_is_not_in_the_files_is_named(tmp_path: Path) -> None:
    requests = FileRequests([written(tmp_path, [record(0, FORK)])], 64)
    with pytest.raises(ValueError, match="other: no such candidate set"):
        requests.request("other")
