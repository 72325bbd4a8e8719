"""Loading, reloading, unloading and evicting adapters; what is refused, and why."""

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from catp.serving.engine.errors import EngineFailed, Refused
from catp.serving.engine.request import Read
from catp.serving.model.lora import AdapterStore
from catp.serving.model.runner import ModelRunner
from catp.serving.model.weights import Weights, from_hf
from tests.serving.lora.parts import Bench, reference, save_adapter, tiny

torch.set_num_threads(1)
BASE: dict[str, Any] = {"tied": False}
PLAN_IDS = [1, 2, 3]


@pytest.fixture(scope="module")
def weights() -> Weights:
    return from_hf(tiny(**BASE))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    where = tmp_path_factory.mktemp("adapters")
    return [save_adapter(where / str(seed), BASE, seed) for seed in range(4)]


def logits(store: AdapterStore, weights: Weights, digest: str | None) -> Any:
    bench = Bench(ModelRunner(weights, 8, 8, plan_ids=PLAN_IDS, threads=1, adapters=store))
    return bench.compute([(bench.branch([5, 6, 7], digest), 3, [Read(2)])])[0].logits


def edited(folder: Path, target: Path, **changes: Any) -> Path:
    shutil.copytree(folder, target)
    path = target / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return target


def test_a_reload_under_a_name_is_another_digest_and_running_requests_keep_theirs(
    weights: Weights, saved: list[Path]
) -> None:
    store = AdapterStore(weights, plan_ids=PLAN_IDS)
    old = store.load("planner", saved[0])
    release = store.use(old)
    new = store.load("planner", saved[1])
    assert old != new
    assert [(found.name, found.digest, found.users) for found in store.loaded()] == [("planner", new, 0)]
    assert (store.digest("planner"), store.digest("other")) == (new, None)
    for digest, folder in ((old, saved[0]), (new, saved[1])):
        assert logits(store, weights, digest) == pytest.approx(
            reference(BASE, folder, [5, 6, 7])[2][PLAN_IDS], abs=1e-4
        )
    before = store.bytes
    release()
    release()  # a second call does nothing
    assert store.bytes < before
    with pytest.raises(Refused) as gone:
        store.use(old)
    assert gone.value.reason == "unknown_adapter"
    with pytest.raises(EngineFailed, match="not in memory"):
        logits(store, weights, old)


def test_the_digest_is_of_the_content(weights: Weights, saved: list[Path], tmp_path: Path) -> None:
    store = AdapterStore(weights)
    first = store.load("one", saved[0])
    assert store.load("two", Path(shutil.copytree(saved[0], tmp_path / "copy"))) == first
    assert store.load("three", edited(saved[0], tmp_path / "alpha", lora_alpha=9)) != first
    taken = store.bytes
    store.unload("one")
    assert store.bytes == taken  # "two" is the same content
    store.unload("two")
    assert store.bytes < taken
    with pytest.raises(Refused, match="there is no adapter 'two'; there is: three") as unknown:
        store.unload("two")
    assert (unknown.value.reason, unknown.value.status) == ("unknown_adapter", 404)


def test_unloading_waits_for_the_last_request(weights: Weights, saved: list[Path]) -> None:
    store = AdapterStore(weights)
    digest = store.load("a", saved[0])
    releases = [store.use(digest), store.use(digest)]
    assert [found.users for found in store.loaded()] == [2]
    store.unload("a")
    assert store.loaded() == ()
    releases[0]()
    assert store.bytes > 0
    releases[1]()
    assert store.bytes == 0


def test_idle_adapters_leave_the_memory_least_recently_used_first(weights: Weights, saved: list[Path]) -> None:
    one = AdapterStore(weights, plan_ids=PLAN_IDS)
    one.load("x", saved[0])
    size = one.bytes
    store = AdapterStore(weights, plan_ids=PLAN_IDS, limit_bytes=2 * size)
    digests = [store.load(str(number), folder) for number, folder in enumerate(saved[:2])]
    store.use(digests[0])()  # now the other one is the oldest
    digests.append(store.load("2", saved[2]))
    assert store.bytes == 2 * size
    with pytest.raises(EngineFailed):
        logits(store, weights, digests[1])
    release = store.use(digests[1])  # read again, and another idle one leaves
    assert store.bytes == 2 * size
    expected = reference(BASE, saved[1], [5, 6, 7])[2][PLAN_IDS]
    assert logits(store, weights, digests[1]) == pytest.approx(expected, abs=1e-4)
    release2 = store.use(digests[2])
    with pytest.raises(Refused, match="no room") as full:
        store.load("3", saved[3])
    assert (full.value.reason, full.value.retry_after) == ("queue_full", 1.0)
    assert store.digest("3") is None
    release()
    release2()
    store.load("3", saved[3])
    with pytest.raises(Refused) as large:
        AdapterStore(weights, limit_bytes=size - 1).load("x", saved[0])
    assert large.value.reason == "too_large"


def test_a_folder_that_changed_is_not_read_again(weights: Weights, saved: list[Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved[0], tmp_path / "changing"))
    probe = AdapterStore(weights)
    probe.load("x", folder)
    store = AdapterStore(weights, limit_bytes=probe.bytes)
    digest = store.load("a", folder)
    store.load("b", saved[1])  # "a" leaves the memory
    shutil.copy(saved[2] / "adapter_model.safetensors", folder)
    with pytest.raises(Refused, match="has changed since it was loaded; load it again"):
        store.use(digest)
    shutil.rmtree(folder)
    with pytest.raises(Refused, match="load it again") as gone:
        store.use(digest)
    assert gone.value.reason == "unknown_adapter"


def test_loads_uses_and_unloads_from_many_threads_leave_nothing(weights: Weights, saved: list[Path]) -> None:
    store = AdapterStore(weights, limit_bytes=10**9)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for round_ in range(6):
                digest = store.load(f"n{number % 2}", saved[(number + round_) % 3])
                try:
                    release = store.use(digest)
                except Refused:  # another thread has moved the name on
                    continue
                assert store.select([digest], [1]) is not None
                release()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for found in store.loaded():
        store.unload(found.name)
    assert store.bytes == 0


def test_what_cannot_be_served_is_refused_by_name(weights: Weights, saved: list[Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    good = saved[0]
    content = load_file(str(good / "adapter_model.safetensors"))
    name = next(iter(content))

    def stored(folder: str, tensors: dict[str, torch.Tensor]) -> Path:
        target = Path(shutil.copytree(good, tmp_path / folder))
        save_file(tensors, str(target / "adapter_model.safetensors"))
        return target

    short = Path(shutil.copytree(good, tmp_path / "short"))
    data = (good / "adapter_model.safetensors").read_bytes()
    (short / "adapter_model.safetensors").write_bytes(data[: len(data) // 2])
    bare = Path(shutil.copytree(good, tmp_path / "bare"))
    (bare / "adapter_model.safetensors").unlink()
    cases = {
        "no readable adapter_config.json": tmp_path / "nowhere",
        "cannot be read": bare,
        "damaged or cut short": short,
        "use_dora": edited(good, tmp_path / "dora", use_dora=True),
        "modules_to_save": edited(good, tmp_path / "modules", modules_to_save=["lm_head"]),
        "uses bias": edited(good, tmp_path / "bias", bias="all"),
        "'LOHA' adapter": edited(good, tmp_path / "loha", peft_type="LOHA"),
        "NaN or infinite": stored("nan", content | {name: torch.full_like(content[name], torch.nan)}),
        "adapts base_model.model.lm_head.x": stored("head", content | {"base_model.model.lm_head.x": torch.ones(1)}),
        "is empty": stored("empty", {}),
        "lacks its A or B": stored("half", {key: value for key, value in content.items() if key != name}),
        "are not of a layer with": save_adapter(tmp_path / "wide", BASE | {"hidden": 64}, 0),
        "no model.layers.0.self_attn.w": stored("other", {name.replace("q_proj", "w"): content[name]}),
    }  # fmt: skip
    store = AdapterStore(weights)
    for why, folder in cases.items():
        with pytest.raises(Refused) as refused:
            store.load("bad", folder)
        assert why in str(refused.value)
        assert refused.value.reason == "bad_request"
        assert str(folder) in str(refused.value)
    assert store.loaded() == ()
