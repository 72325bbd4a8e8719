"""Adapters through the engine: each answers as its merged model would, in one batch; old content is gone."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catp.serving.engine.errors import Refused
from catp.serving.engine.sampling import Sampling
from catp.serving.server.backend import TextSpec
from catp.serving.server.local import LocalBackend
from tests.serving.e2e.engines import collect, engine, hf_greedy, text_of, tiny_llama

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),
    pytest.mark.xdist_group("adapters"),
]

PROMPT = tuple(range(30, 80))


def spec(model: str) -> TextSpec:
    return TextSpec(model, PROMPT, sampling=Sampling(temperature=0.0), max_tokens=12, ignore_eos=True)


def adapter(folder: Path, seed: int, rank: int) -> list[int]:
    """Save a random adapter of the tiny model; return what the merged model writes."""
    import copy

    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(
        r=rank, lora_alpha=16, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False
    )
    model = get_peft_model(copy.deepcopy(tiny_llama()), config)
    model.save_pretrained(str(folder))
    return hf_greedy(model.merge_and_unload().eval(), PROMPT, 12)


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, list[int]]]:
    root = tmp_path_factory.mktemp("adapters")
    return {name: (root / name, adapter(root / name, seed, rank)) for name, seed, rank in (("a", 1, 4), ("b", 2, 8))}


@pytest.fixture
def backend() -> Iterator[LocalBackend]:
    with engine() as made:
        yield made


async def tokens(backend: LocalBackend, model: str) -> tuple[list[int], Any]:
    events, end = await collect(backend, spec(model))
    return text_of(events)[1], end


async def test_a_batch_mixes_the_base_and_adapters(backend: LocalBackend, adapters: Any) -> None:
    for name, (folder, _) in adapters.items():
        await backend.load_adapter(name, str(folder))
    found = await asyncio.gather(*(tokens(backend, model) for model in ("tiny", "a", "b", "a", "tiny")))
    base = hf_greedy(tiny_llama(), PROMPT, 12)
    assert [written for written, _ in found] == [base, adapters["a"][1], adapters["b"][1], adapters["a"][1], base]
    assert len({tuple(adapters[name][1]) for name in adapters} | {tuple(base)}) == 3
    digests = [end.usage.adapter for _, end in found]
    assert digests[0] is None
    assert digests[1] == digests[3] != digests[2]


async def test_a_name_with_new_content_never_reads_the_old_keys(backend: LocalBackend, adapters: Any) -> None:
    first = await backend.load_adapter("mine", str(adapters["a"][0]))
    assert (await tokens(backend, "mine"))[0] == adapters["a"][1]
    second = await backend.load_adapter("mine", str(adapters["b"][0]))
    assert first.digest != second.digest
    written, end = await tokens(backend, "mine")
    assert written == adapters["b"][1]
    assert end.usage.cached_tokens == 0
    again, end = await tokens(backend, "mine")
    assert again == written
    assert end.usage.cached_tokens > 0


async def test_requests_that_run_keep_an_adapter_that_is_unloaded(backend: LocalBackend, adapters: Any) -> None:
    await backend.load_adapter("a", str(adapters["a"][0]))
    running = await backend.submit(spec("a"))
    await backend.unload_adapter("a")
    with pytest.raises(Refused) as refused:
        await backend.submit(spec("a"))
    assert refused.value.status == 404
    events = [event async for event in running]
    assert text_of(events[:-1])[1] == adapters["a"][1]
    with pytest.raises(Refused):
        await backend.unload_adapter("a")


async def test_an_adapter_of_another_base_is_refused(backend: LocalBackend, tmp_path: Path, adapters: Any) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=4,
    )  # fmt: skip
    get_peft_model(LlamaForCausalLM(shape), LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(str(tmp_path))
    with pytest.raises(Refused, match="base"):
        await backend.load_adapter("foreign", str(tmp_path))
    assert (await tokens(backend, "tiny"))[0] == hf_greedy(tiny_llama(), PROMPT, 12)
