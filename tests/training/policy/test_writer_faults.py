"""What a writer refuses, and what happens when the model, the machine or the caller fails."""

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from catp.planlang.nodes import Literal
from catp.planlang.registry_view import Param, ToolSig
from catp.planlang.types import Type
from catp.planners.cheapest import cheapest_plans
from catp.planners.policy import PolicyPlanner
from catp.planners.protocol import PlanRequest, Wanted
from catp.planners.search import SearchPlanner
from catp.planners.shipped import DeferredPolicy
from catp.planners.writer import Unwritable
from catp.training.policy import checkpoint
from catp.training.policy.tree import Run, TokenTree
from catp.training.policy.writer import LocalWriter, ModelUnavailable, WriterFailed, load_writer
from tests.training.policy.writing import page_request, plans, random_policy, write


@pytest.fixture(scope="module")
def writer() -> LocalWriter:
    return LocalWriter(random_policy(), threads=1)


def with_tools(request: PlanRequest, tools: Sequence[ToolSig]) -> PlanRequest:
    registry = replace(request.registry, tools=tuple(tools))
    return replace(request, registry=registry, estimator=replace(request.estimator, registry=registry))  # type: ignore[type-var]


def used(request: PlanRequest, writer: LocalWriter, **how: Any) -> set[str]:
    return {str(step.attempts[0].tool) for plan in plans(write(writer, request, **how)) for step in plan.steps}


def test_a_large_catalogue_is_narrowed_to_tools_that_can_contribute() -> None:
    """150 tools, 24 usual and 32 slots: about nine in ten turn records into each other that nobody wants."""
    writer = LocalWriter(random_policy(), threads=1)
    request = page_request(tools=150)
    draft = write(writer, request, samples=8)
    names = {step.attempts[0].tool for plan in plans(draft) for step in plan.steps}
    assert names
    assert not {name for name in names if name.startswith("other")}
    assert draft.usage.prompt_tokens < 24 * 30


def test_of_too_many_rivals_the_beaten_ones_go_and_those_of_plans_shown_stay() -> None:
    """32 rivals to read a page and 8 slots: the cheapest and the most accurate are never left out."""
    writer = LocalWriter(random_policy(slots=8, usual=6, sharp=1.0), threads=1)
    request = page_request(tools=12)
    (ocr,) = [sig for sig in request.registry if sig.name == "ocr_0"]
    rivals = [replace(ocr, name=type(ocr.name)(f"ocr_{number}")) for number in range(32)]
    request = replace(with_tools(request, rivals), wanted=request.wanted[:1])
    estimates = {sig.name: request.estimator.estimate(sig.name, request.inputs) for sig in rivals}
    cheap = min(estimates, key=lambda name: estimates[name].price.expected or 0)
    good = max(estimates, key=lambda name: (estimates[name].accuracy or 0.0, -(estimates[name].price.expected or 0)))
    names = used(request, writer, samples=40, seed=1)
    assert len(names) <= 8
    assert {cheap, good} <= names
    dear = max(estimates, key=lambda name: estimates[name].price.expected or 0)
    (shown,) = [c.priced.plan for c in cheapest_plans(with_tools(request, [s for s in rivals if s.name == dear]), 1)]
    draft = write(writer, request, samples=2, shown=[shown])
    assert draft.rated[0] is not None


def test_more_tools_than_slots_that_are_all_of_use_are_refused() -> None:
    writer = LocalWriter(random_policy(slots=4, usual=4), threads=1)
    request = page_request(tools=12)
    wanted = tuple(Wanted(name.lower(), Type(name)) for name in ("Language", "KeyPhrases", "Sentiment", "Codes"))
    with pytest.raises(Unwritable, match=r"the policy tells 4 apart; offer fewer"):
        write(writer, replace(request, wanted=wanted))


def test_fixed_arguments_need_tokens(writer: LocalWriter) -> None:
    request = page_request(tools=12)
    text, german = Type("text"), Literal("de")
    open_, closed, preset = (
        ToolSig(
            type(request.registry.tools[0].name)(name), (Param("image", Type("image")), param), text, capability="tr"
        )
        for name, param in (
            ("open", Param("to", text, required=False)),
            ("closed", Param("to", text, required=False, choices=("de", "es"))),
            ("preset", Param("to", text, required=False, default=german)),
        )
    )
    wanted = (Wanted("done", text, capability=("tr",), arguments=(("to", "de"),)),)
    for sig, fits in ((open_, False), (closed, True), (preset, True)):
        asked = replace(with_tools(request, [sig]), wanted=wanted)
        if fits:
            assert write(writer, asked, samples=4).written
        else:
            with pytest.raises(Unwritable, match=r"`done` is wanted with to='de', for which the policy has no token"):
                write(writer, asked)


def test_too_many_inputs_and_too_little_context_are_refused(writer: LocalWriter) -> None:
    request = page_request()
    (facts,) = request.inputs.values()
    crowd = replace(request, inputs={f"page{number}": facts for number in range(9)})
    with pytest.raises(Unwritable, match="9 inputs, but the vocabulary has room for 8"):
        write(writer, crowd)
    policy = random_policy()
    policy.model.config.max_position_embeddings = 400
    with pytest.raises(Unwritable, match=r"takes \d+ tokens, and the policy reads 400 in all; offer fewer tools"):
        write(LocalWriter(policy, threads=1), request)
    with pytest.raises(Unwritable, match="at least one requested output must be required"):
        write(writer, replace(request, wanted=request.wanted[1:]))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_weights_are_an_error_and_never_a_plan(value: float) -> None:
    policy = random_policy()
    with torch.no_grad():
        policy.model.model.layers[1].mlp.down_proj.weight[3, 3] = value
    with pytest.raises(WriterFailed, match="NaN or infinite"):
        write(LocalWriter(policy, threads=1), page_request())


def test_the_planner_goes_on_by_search_when_the_model_is_broken() -> None:
    policy = random_policy()
    with torch.no_grad():
        policy.model.model.norm.weight.fill_(float("nan"))
    request = page_request()
    found = asyncio.run(PolicyPlanner(LocalWriter(policy, threads=1)).plan(request))
    assert "WriterFailed" in found.notes[0]
    assert found.best.plan == asyncio.run(SearchPlanner().plan(request)).best.plan


def test_the_policy_planner_decides_among_its_plans(writer: LocalWriter) -> None:
    """With random weights: what comes out is priced, valid, and rated by the policy or one of the cheapest."""
    found = asyncio.run(PolicyPlanner(writer, None, unsure=1.0).plan(page_request()))
    assert found.candidates
    assert all(candidate.price.expected for candidate in found.candidates)
    assert found.price is not None
    assert found.price > 0


def test_a_run_sees_its_own_path_only() -> None:
    """Two runs behind one prompt, in one pass or in two, read the same as each alone."""
    policy = random_policy()
    rows = policy.model.get_output_embeddings().weight.detach()
    alone = []
    for ids in ((5, 6, 7), (8, 9)):
        tree, trunk = TokenTree(policy.model, rows), Run(None, (1, 2, 3, 4), ())
        run = Run(trunk, ids, (len(ids) - 1,))
        tree.compute([trunk, run])
        expected = policy.model(torch.tensor([[1, 2, 3, 4, *ids]])).logits[0, -1].double().detach().numpy()
        assert run.logits is not None
        assert run.logits[0] == pytest.approx(expected, abs=1e-4)
        alone.append(run.logits)
    tree, trunk = TokenTree(policy.model, rows), Run(None, (1, 2, 3, 4), ())
    one, two = Run(trunk, (5, 6, 7), (2,)), Run(trunk, (8, 9), (1,))
    tree.compute([trunk, one])
    tree.compute([two, (deeper := Run(one, (11,), (0,)))])
    assert two.logits == pytest.approx(alone[1], abs=1e-4)
    path = policy.model(torch.tensor([[1, 2, 3, 4, 5, 6, 7, 11]])).logits[0, -1].double().detach().numpy()
    assert deeper.logits is not None
    assert deeper.logits[0] == pytest.approx(path, abs=1e-4)
    assert len(tree) == 4 + 3 + 2 + 1


def test_cancelling_ends_the_work_and_the_next_request_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = LocalWriter(random_policy(), threads=1)
    computed, entered = [], threading.Event()
    compute = TokenTree.compute

    def slowly(tree: TokenTree, runs: Sequence[Run]) -> None:
        entered.set()
        computed.append(time.monotonic())
        time.sleep(0.1)
        compute(tree, runs)

    monkeypatch.setattr(TokenTree, "compute", slowly)

    async def cancelled() -> None:
        task = asyncio.create_task(writer.write(page_request(), samples=4))
        await asyncio.to_thread(entered.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    steps = len(computed)
    assert steps <= 3  # a whole draft takes more
    monkeypatch.setattr(TokenTree, "compute", compute)
    assert write(writer, page_request(), samples=2).written


def test_two_requests_at_once_are_served_as_one_after_the_other() -> None:
    writer = LocalWriter(random_policy(), threads=1)
    requests = [page_request(seed=seed) for seed in range(3)]
    apart = [write(writer, request, samples=3).written for request in requests]

    async def together() -> list[Any]:
        return list(await asyncio.gather(*(writer.write(request, samples=3) for request in requests)))

    assert [draft.written for draft in asyncio.run(together())] == apart


def test_load_writer_finds_a_folder_and_names_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mine"
    checkpoint.save(random_policy(), folder)
    loaded = load_writer(str(folder), threads=1)
    assert (loaded.name, loaded.device) == ("mine", "cpu")
    request = page_request()
    same = LocalWriter(random_policy(), threads=1)
    assert asyncio.run(loaded.write(request, seed=4)).written == write(same, request, seed=4).written
    with pytest.raises(ModelUnavailable, match="no policy 'mien'"):
        load_writer("mien")
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelUnavailable, match=r"model\.safetensors"):
        load_writer(str(folder))
    with pytest.raises(ModelUnavailable, match="no device 'tpux'"):
        load_writer(str(folder), device="tpux")
    monkeypatch.setattr("catp.training.policy.writer.default_model", lambda: None)
    with pytest.raises(ModelUnavailable, match=r"no policy 'catp-tiny'.*catp train"):
        load_writer()
    found = asyncio.run(DeferredPolicy().plan(request))
    assert found.notes[0].startswith("policy: there is no policy 'catp-tiny'")
    assert found.by == "search"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_an_error_that_says_so(tmp_path: Path) -> None:
    checkpoint.save(random_policy(), tmp_path / "mine")
    with pytest.raises(ModelUnavailable, match="cuda needs a CUDA GPU"):
        load_writer(str(tmp_path / "mine"), device="cuda")


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        asyncio.run(LocalWriter(random_policy(), threads=1).write(page_request(), samples=0))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="temperature must be above 0, got 0"):
        LocalWriter(random_policy(), temperature=0)
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        LocalWriter(random_policy(), threads=0)
