"""OpenCATP's plans: pools as upstream pickles them, and the re-export, as the same trajectories."""

import os
import pickle
import sys
import types
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catp.training.data import files
from catp.training.data.opencatp import read
from catp.training.data.opencatp_tools import price_usd, toolset
from catp.training.data.safe_pickle import UnsafePickle
from catp.training.data.toolset import Toolset
from catp.training.data.trajectory import Trajectory


@pytest.fixture
def pool_class(monkeypatch: pytest.MonkeyPatch) -> type:
    """A class that pickles as upstream's: `src.catpllm.data.plan_pool.PlanPool`."""
    parts = ["src", "src.catpllm", "src.catpllm.data", "src.catpllm.data.plan_pool"]
    for name in parts:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    found = type("PlanPool", (), {"__module__": parts[-1]})
    sys.modules[parts[-1]].PlanPool = found  # type: ignore[attr-defined]
    return found


def pool(pool_class: type, **tables: Any) -> Any:
    made = pool_class()
    for name in ("plans", "scores", "tools_exec_time", "tools_cpu_mem", "tools_gpu_mem"):
        table: dict[int, Any] = defaultdict(dict)
        for (task, sample), entry in tables[name].items():
            table[task][sample] = entry
        setattr(made, name, table)
    return made


CHAIN = ["image_denoising", ["input_of_query"], "image_super_resolution", ["image_denoising"],
         "image_captioning", ["image_super_resolution"]]  # fmt: skip
FORK = ["image_deblurring", ["Input of Query"], "object_detection", ["image_deblurring"],
        "image_colorization", ["image_deblurring"]]  # fmt: skip


def example(pool_class: type) -> Any:
    return pool(
        pool_class,
        plans={(3, 7): [CHAIN, CHAIN[:2]], (205, 1): FORK},
        scores={(3, 7): [(np.float32(0.5), "bert"), (-2, "bert")], (205, 1): (np.float32(1.0000001), "multi_score")},
        tools_exec_time={(3, 7): [[100.0, 200.5, 50.0], [101.0]], (205, 1): [10.0, 20.0, 40.0]},
        tools_cpu_mem={(3, 7): [[0.0, 1.5, 0.0], [0.0]], (205, 1): [0.0, 0.0, 0.0]},
        tools_gpu_mem={(3, 7): [[533.0, 100.0, 24.0], [533.0]], (205, 1): [1066.0, 1.0, 1.0]},
    )  # fmt: skip


def load(path: Path, value: Any, protocol: int = 4) -> list[Trajectory]:
    path.write_bytes(pickle.dumps(value, protocol))
    return list(read(path))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pool_becomes_trajectories(tmp_path: Path, pool_class: type, protocol: int) -> None:
    if protocol == 2:  # bytes of numpy scalars are a call in protocol 2, which is refused
        with pytest.raises(UnsafePickle, match=r"_codecs\.encode"):
            load(tmp_path / "seq_plan_pool.pkl", example(pool_class), protocol)
        return
    first, invalid, fork = load(tmp_path / "seq_plan_pool.pkl", example(pool_class), protocol)
    assert [first.trajectory_id, invalid.trajectory_id, fork.trajectory_id] == [
        "opencatp-seq-3-7-0", "opencatp-seq-3-7-1", "opencatp-nonseq-205-1-0",
    ]  # fmt: skip
    assert (first.group, first.candidate_set, first.dataset) == ("task-3", "opencatp-seq-3-7", "opencatp/seq")
    assert first.plan.edges == [["input", "n1"], ["n1", "n2"], ["n2", "n3"]]
    assert first.request.wanted == ["text"]
    assert first.request.inputs[0].size == {"pixels": 100_000}
    assert [(event.start_ms, event.end_ms) for event in first.events] == [(0, 100), (100, 300.5), (300.5, 350.5)]
    assert first.outcome.latency_ms == first.outcome.serial_ms == 350.5
    assert first.outcome.price_usd == sum(event.price_usd or 0 for event in first.events)
    assert (first.outcome.score, first.outcome.score_suspect) == (0.5, False)
    assert (invalid.outcome.status, invalid.outcome.score) == ("failed", None)
    assert (fork.outcome.latency_ms, fork.outcome.serial_ms) == (50.0, 70.0)
    assert fork.request.wanted == ["text", "image"]
    assert fork.outcome.score == 1.0
    assert fork.outcome.score_suspect  # an image was compared
    assert not fork.provenance.timing_quantised_100ms


def test_the_price_is_upstreams_formula() -> None:
    # denoising: 1690.15625 MB of the 2 GB tier and 99.67 MB on the GPU, three times the 128 MB tier
    rate = 1690.15625 * 3.33e-8 + 99.67431640625 * 2.1e-9 * 3 + 1.5 * 3.02e-14 + 500 * 3 * 3.02e-14
    assert price_usd("image_denoising", 300.0, 1.5, 500.0) == Decimal(round((2e-7 + 300 * rate) * 1e9)) / 10**9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.plans[3][7][0].__setitem__(0, "rm"), r"task 3, sample 7: unknown tool 'rm'"),
        (lambda p: p.plans[3][7][0].__setitem__(3, ["object_detection"]), "depends on 'object_detection'"),
        (lambda p: p.plans[3][7][0].pop(), "a plan is a list"),
        (lambda p: p.tools_exec_time[3][7][0].pop(), "for 3 tools"),
        (lambda p: p.tools_exec_time[3][7][0].__setitem__(0, -1.0), "not negative"),
        (lambda p: p.tools_exec_time[3][7][0].__setitem__(0, "1"), "a number expected"),
        (lambda p: p.scores[3][7].pop(), "columns of different lengths"),
        (lambda p: p.scores[3][7].__setitem__(0, 0.5), "a pair"),
        (lambda p: p.plans[3].__setitem__(7, None), "one list per column"),
        (lambda p: p.plans.__setitem__(3, [1]), "a mapping expected"),
        (lambda p: delattr(p, "scores"), "the pool has no scores"),
        (lambda p: p.scores[3][7].__setitem__(0, (np.complex64(1), "x")), "a number expected"),
        (lambda p: p.scores[3][7].__setitem__(0, (float("nan"), "x")), "a number expected"),
    ],
)
def test_a_wrong_pool_says_where(tmp_path: Path, pool_class: type, change: Any, message: str) -> None:
    import copy

    wrong = copy.deepcopy(example(pool_class))
    change(wrong)
    with pytest.raises(ValueError, match=message) as caught:
        load(tmp_path / "pool.pkl", wrong)
    assert str(tmp_path / "pool.pkl") in str(caught.value)


def test_a_hostile_pool_is_refused(tmp_path: Path, pool_class: type) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    wrong = example(pool_class)
    wrong.plans[3][7] = Evil()
    with pytest.raises(UnsafePickle, match=r"pool\.pkl: byte \d+: .*system"):
        load(tmp_path / "pool.pkl", wrong)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(ValueError, match="no OpenCATP plan pool"):
        load(tmp_path / "pool.pkl", {"plans": {}})


def test_a_plan_without_costs_has_no_events(tmp_path: Path, pool_class: type) -> None:
    given = example(pool_class)
    for name in ("tools_exec_time", "tools_cpu_mem", "tools_gpu_mem"):
        getattr(given, name)[3][7][0] = None
    first = load(tmp_path / "pool.pkl", given)[0]
    assert first.events == []
    assert first.outcome.price_usd is None


def test_the_re_export_is_made_canonical(shared_opencatp: Path) -> None:
    known = Toolset.load(shared_opencatp.with_name("toolset.json"))
    assert known.sha256 == toolset().sha256  # made from upstream's figures, and equal to what the data came with
    kinds = {"image", "text"}
    count = 0
    for record, raw in zip(read(shared_opencatp), files.read(shared_opencatp), strict=True):
        count += 1
        assert record.toolset.sha256 == known.sha256  # type: ignore[union-attr]
        sinks = {node.id for node in record.plan.nodes} - {edge[0] for edge in record.plan.edges}
        assert len(record.request.wanted) == len(sinks) >= 1
        assert set(record.request.wanted) <= kinds
        (given,), (before,) = record.request.inputs, raw.request.inputs
        assert given.units == before.pixels
        assert given.pixels is None
        assert record.model_copy(update={"request": raw.request, "toolset": raw.toolset}) == raw
    assert count == 1977


def test_upstreams_pools_and_the_re_export_agree(shared_opencatp: Path) -> None:
    """With CATP_OPENCATP_POOLS naming a folder with upstream's `*_plan_pool.pkl`."""
    folder = os.environ.get("CATP_OPENCATP_POOLS")
    if not folder:
        pytest.skip("upstream's pools are not here")
    pools = {r.trajectory_id: r for name in ("seq", "nonseq") for r in read(Path(folder) / f"{name}_plan_pool.pkl")}
    assert len(pools) == 1593 + 1030
    unsized = 0
    for ours in read(shared_opencatp):
        theirs = pools[ours.trajectory_id]
        for field in ("dataset", "group", "candidate_set", "toolset", "plan", "provenance"):
            assert getattr(ours, field) == getattr(theirs, field), field
        assert ours.request.wanted == theirs.request.wanted
        sizes = ours.request.inputs[0].units, theirs.request.inputs[0].units
        assert None in sizes or sizes[0] == pytest.approx(sizes[1], rel=0.02)
        unsized += None in sizes
        assert ours.outcome.score == pytest.approx(theirs.outcome.score, abs=1e-6)
        assert ours.outcome.score_suspect == theirs.outcome.score_suspect
        assert ours.outcome.latency_ms == pytest.approx(theirs.outcome.latency_ms, abs=1e-3)
        assert float(ours.outcome.price_usd or 0) == pytest.approx(float(theirs.outcome.price_usd or 0), abs=1e-6)
        for mine, other in zip(ours.events, theirs.events, strict=True):
            assert (mine.start_ms, mine.end_ms) == pytest.approx((other.start_ms, other.end_ms), abs=1e-3)
            assert float(mine.price_usd or 0) == pytest.approx(float(other.price_usd or 0), rel=1e-5)
    assert unsized <= 10
