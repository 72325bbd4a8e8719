"""Simulated records as examples: requests made again from ids, many tools narrowed, foreign ids refused."""

import importlib.resources
from decimal import Decimal
from functools import cache
from itertools import groupby, islice

import pytest

from catp.planlang.money import Money
from catp.planlang.vocabulary import Vocabulary
from catp.training.caorl.cases import CaseMaker
from catp.training.caorl.config import DataConfig
from catp.training.caorl.source_sim import SimRequests
from catp.training.caorl.sources import load_cases
from catp.training.data.files import read
from catp.training.data.trajectory import Trajectory, nano


@cache
def sets(tools: int) -> list[list[Trajectory]]:
    """The first candidate sets of the world of this size on the validation side."""
    folder = importlib.resources.files("catp") / "datasets" / "catp-sim" / "sets" / "val.jsonl.gz"
    with importlib.resources.as_file(folder) as path:
        mine = (record for record in read(path) if f"-{tools}-t" in record.candidate_set)
        return [list(group) for _, group in islice(groupby(mine, key=lambda record: record.candidate_set), 8)]


@pytest.mark.parametrize("tools", [8, 85])
def test_requests_are_those_of_the_records(tools: int) -> None:
    requests = SimRequests(64)
    for records in sets(tools):
        record = records[0]
        found = requests(record)
        assert found is not None
        assert found.task == record.request.text
        assert [want.name for want in found.wanted] == record.request.outputs
        assert [str(want.type) for want in found.wanted] == record.request.wanted
        given = {name: (str(f.type), f.size.units, f.condition) for name, f in found.inputs.items()}
        assert given == {i.name: (i.type, i.units, i.condition or "") for i in record.request.inputs}


def test_of_many_tools_those_are_offered_that_any_plan_uses() -> None:
    requests = SimRequests(64)
    maker = CaseMaker(requests, Vocabulary(64))
    for records in sets(85):
        request = requests(records[0])
        assert request is not None
        assert len(request.registry) <= 64
        offered = {sig.name for sig in request.registry}
        assert {node.tool for record in records for node in record.plan.nodes} <= offered
    cases = list(maker.cases(record for records in sets(85) for record in records))
    assert sum(len(case.branches) for case in cases) == sum(map(len, sets(85)))
    assert not maker.left_out


def test_too_many_tools_for_the_slots_are_left_out_and_counted() -> None:
    maker = CaseMaker(SimRequests(2), Vocabulary(2))
    assert not list(maker.cases(sets(85)[0]))
    assert sum(maker.left_out.values()) == len(sets(85)[0])


def test_prices_are_those_of_the_catalogue_and_scores_those_of_the_outputs() -> None:
    maker = CaseMaker(SimRequests(64), Vocabulary())
    for records in sets(8):
        (case,) = maker.cases(records)
        by_id = {record.trajectory_id: record for record in records}
        for branch in case.branches:
            record = by_id[branch.id]
            told = sum(step.price or 0.0 for step in branch.told.steps)
            if record.outcome.status == "ok" and "price change" not in (record.provenance.notes or ""):
                assert told == pytest.approx(float(nano(record.outcome.price_usd or Decimal(0))), rel=0.5)
            names = [want.name for want in (SimRequests(64)(record) or pytest.fail("no request")).wanted]
            parts = record.outcome.quality_parts or {}
            for output, part in zip(branch.told.outputs, branch.parts, strict=True):
                if names[output.goal] in parts:
                    assert part == parts[names[output.goal]]


def test_a_tool_held_out_is_never_offered() -> None:
    request = SimRequests(64)(sets(8)[0][0])
    assert request is not None
    name = str(request.registry.tools[0].name)
    without = SimRequests(64, (name,))(sets(8)[0][0])
    assert without is not None
    assert [sig.name for sig in without.registry] == [sig.name for sig in request.registry.tools[1:]]


@pytest.mark.parametrize("id_", ["catp-sim-w1004-8-t99-p0-1", "catp-sim-w1004-9999-t0-p0-1", "somebody-else-7"])
def test_a_foreign_request_is_named(id_: str) -> None:
    with pytest.raises(ValueError, match=rf"{id_}.*build them anew"):
        SimRequests(64).request(id_, Money(1000))


def test_another_wording_is_refused() -> None:
    with pytest.raises(ValueError, match="another version"):
        SimRequests(64).request(sets(8)[0][0].candidate_set, Money(1000), "something else")


def test_the_shipped_sets_are_a_data_set_by_name() -> None:
    found, digests = load_cases(DataConfig(paths=("catp-sim",), limit=3), Vocabulary(), "train")
    assert len(found) == 3
    assert all(case.id.startswith("catp-sim-w1000-5-") for case in found)
    assert [name.rpartition("/")[2] for name in digests] == ["train.jsonl.gz"]  # the others have none of the three
