"""Policies that `catp train` saved as adapters, many on one base: each answers as it does alone, merged."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from catp.serving.engine.errors import Refused
from catp.serving.engine.request import Read
from catp.serving.model.lora import AdapterStore, with_rows
from catp.serving.model.runner import ModelRunner
from catp.serving.model.weights import load_weights
from catp.training.policy import checkpoint
from catp.training.policy.base import base_ref
from tests.serving.lora.parts import Bench
from tests.training.policy.tiny import lora_config, make_base, trained

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    where = tmp_path_factory.mktemp("policies")
    base = make_base(where / "base", tied=request.param)
    for rank in (2, 5):
        checkpoint.save(trained(checkpoint.from_base(lora_config(base, rank))), where / str(rank))
    return base, [where / "2", where / "5"]


def test_each_answers_as_it_does_alone(saved: tuple[Path, list[Path]]) -> None:
    base, folders = saved
    policies = [checkpoint.load(folder) for folder in folders]
    tokens = policies[0].tokens
    plan_ids = (*tokens.plan_ids, *tokens.quality_ids)
    weights = with_rows(load_weights(base), len(tokens))
    store = AdapterStore(weights, plan_ids=plan_ids, base_sha256=base_ref(str(base), base).sha256)
    digests = [store.load(folder.name, folder) for folder in folders]
    bench = Bench(ModelRunner(weights, 32, 8, plan_ids=plan_ids, threads=1, adapters=store))
    generator = np.random.default_rng([1])
    prompts = [generator.integers(0, len(tokens), 12).tolist() for _ in range(4)]
    branches = [bench.branch(prompt, digests[number % 2]) for number, prompt in enumerate(prompts)]
    found = bench.compute([(branch, 12, [Read(5), Read(11)]) for branch in branches])
    for number, prompt in enumerate(prompts):
        with torch.no_grad():
            wanted: Any = policies[number % 2].model(torch.tensor([prompt])).logits[0].numpy()
        for result in found[2 * number : 2 * number + 2]:
            assert result.logits == pytest.approx(wanted[result.at][list(plan_ids)], abs=1e-4)
    with torch.no_grad():
        apart: Any = [policy.model(torch.tensor([prompts[0]])).logits[0, 5].numpy() for policy in policies]
    assert np.abs(apart[0] - apart[1]).max() > 1e-3


def test_an_adapter_of_another_base_and_damaged_weights_are_refused(
    saved: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    base, folders = saved
    weights = with_rows(load_weights(base), 2000)
    with pytest.raises(Refused, match=r"was trained on another base \('.*base'.*serve that base"):
        AdapterStore(weights, base_sha256="cd" * 32).load("p", folders[0])
    with pytest.raises(Refused, match="and the base has rows for"):
        AdapterStore(load_weights(base)).load("p", folders[0])
    AdapterStore(weights).load("p", folders[0])
    data = bytearray((folders[0] / "adapter_model.safetensors").read_bytes())
    data[-1] ^= 1
    for path in folders[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "adapter_model.safetensors").write_bytes(data)
    with pytest.raises(Refused, match=r"is not what catp\.json describes"):
        AdapterStore(weights).load("p", tmp_path)
