"""Adapters in one batch against peft, one at a time; chunked, decoded, on both heads."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from catp.serving.engine.errors import Refused
from catp.serving.engine.request import Read
from catp.serving.engine.sampling import Draw, Sampling
from catp.serving.model.lora import AdapterStore, with_rows
from catp.serving.model.runner import ModelRunner
from catp.serving.model.weights import from_hf
from tests.serving.lora.parts import NEW, VOCABULARY, Bench, reference, save_adapter, tiny

torch.set_num_threads(1)
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ADAPTERS: dict[str, dict[str, Any]] = {
    "attention": {"r": 4, "target_modules": ["q_proj", "v_proj"]},
    "all": {"r": 7, "lora_alpha": 3, "target_modules": ALL, "use_rslora": True},
    "mlp": {"r": 2, "target_modules": ["up_proj", "down_proj"], "layers_to_transform": [0, 2]},
    "patterns": {"target_modules": ["k_proj", "o_proj"], "rank_pattern": {"k_proj": 5}, "alpha_pattern": {"o_proj": 1}},
    "tokens": {"r": 3, "target_modules": ["v_proj", "gate_proj"], "tokens": True},
}
BASES: list[dict[str, Any]] = [
    {"tied": False},
    {"tied": True},
    {"tied": True, "kind": "qwen2"},
]


@pytest.fixture(scope="module", params=BASES, ids=["untied", "tied", "qwen2"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    base = request.param
    folders: dict[str | None, Path | None] = {None: None}
    for seed, (name, options) in enumerate(ADAPTERS.items()):
        given = dict(options)
        if given.pop("tokens", False):
            ends = ["embed_tokens"] if base["tied"] else ["embed_tokens", "lm_head"]
            given["trainable_token_indices"] = dict.fromkeys(ends, NEW)
        folders[name] = save_adapter(tmp_path_factory.mktemp(name), base, seed, **given)
    plan_ids = [63, 2, 60, 5, *range(10, 30)]
    weights = from_hf(tiny(**base))
    store = AdapterStore(weights, plan_ids=plan_ids)
    digests = {name: None if folder is None else store.load(str(name), folder) for name, folder in folders.items()}
    runner = ModelRunner(weights, 64, 8, plan_ids=plan_ids, threads=1, adapters=store)
    return base, folders, digests, runner, plan_ids


def test_a_mixed_batch_computes_what_peft_computes_for_each(loaded: Any) -> None:
    base, folders, digests, runner, plan_ids = loaded
    bench = Bench(runner)
    generator = np.random.default_rng([3])
    order = ["all", None, "tokens", "attention", "all", None, "mlp", "patterns", "tokens"]
    prompts = [
        [*NEW[: number % 3], *generator.integers(0, VOCABULARY, 4 + number).tolist(), NEW[0]]
        for number in range(len(order))
    ]
    expected = [reference(base, folders[name], prompt) for name, prompt in zip(order, prompts, strict=True)]
    branches = [bench.branch(prompt, digests[name]) for prompt, name in zip(prompts, order, strict=True)]
    # a chunk of each without reads, the plan head in the middle, then one token with the text head
    bench.compute([(branch, 2, []) for branch in branches])
    results = bench.compute([(b, len(b.tokens) - 3, [Read(b.computed + 1), Read(len(b.tokens) - 2)]) for b in branches])
    for number, result in enumerate(results):
        assert result.logits == pytest.approx(expected[number // 2][result.at][plan_ids], abs=2e-4)
    draw = Draw(Sampling(temperature=0.0, logprobs=VOCABULARY), 0, 0)
    results = bench.compute([(branch, 1, [Read(len(branch.tokens) - 1, (draw,))]) for branch in branches])
    for number, result in enumerate(results):
        wanted = torch.log_softmax(torch.from_numpy(expected[number][-1]), -1).numpy()
        found = np.zeros(VOCABULARY)
        for token, value in result.drawn[0].top:
            found[token] = value
        assert found == pytest.approx(wanted, abs=2e-4)


def test_adapters_differ_and_the_base_is_the_base(loaded: Any) -> None:
    base, folders, _, _, _ = loaded
    prompt = [1, 60, 5, 9]
    found = [reference(base, folder, prompt)[-1] for folder in folders.values()]
    assert all(np.abs(one - other).max() > 0.05 for i, one in enumerate(found) for other in found[:i])


@pytest.mark.parametrize("name", ["all", "tokens"])
def test_a_batch_of_one_adapter_alone(loaded: Any, name: str) -> None:
    base, folders, digests, runner, plan_ids = loaded
    bench = Bench(runner)
    prompt = [1, 60, 5, 9, 61]
    branch = bench.branch(prompt, digests[name])
    (result,) = bench.compute([(branch, 5, [Read(4)])])
    assert result.logits == pytest.approx(reference(base, folders[name], prompt)[4][plan_ids], abs=2e-4)


def test_tokens_that_an_adapter_brings_need_rows(tmp_path: Path) -> None:
    """An adapter for a longer vocabulary runs on the base once that has (empty) rows for it."""
    base = BASES[1]
    folder = save_adapter(tmp_path / "new", base, 1, trainable_token_indices={"embed_tokens": NEW})
    whole = from_hf(tiny(**base))
    short = replace(whole, config=replace(whole.config, vocabulary=60), embedding=whole.embedding[:60])
    short = replace(short, head=short.embedding)
    with pytest.raises(Refused, match="trains token 63, and the base has rows for 60 tokens"):
        AdapterStore(short).load("new", folder)
    longer = with_rows(short, VOCABULARY)
    assert longer.config.vocabulary == VOCABULARY
    assert longer.head is longer.embedding
    store = AdapterStore(longer, plan_ids=NEW)
    digest = store.load("new", folder)
    bench = Bench(ModelRunner(longer, 16, 8, plan_ids=NEW, threads=1, adapters=store))
    (result,) = bench.compute([(bench.branch([3, 60, 61, 7], digest), 4, [Read(3)])])
    assert result.logits == pytest.approx(reference(base, folder, [3, 60, 61, 7])[3][NEW], abs=2e-4)
