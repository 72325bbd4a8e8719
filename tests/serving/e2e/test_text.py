"""Whole text requests through the engine on a real (tiny, random) Llama, beside transformers' own `generate`."""

import asyncio
import json

import pytest

from catp.serving.engine.errors import Refused
from catp.serving.engine.sampling import Sampling
from catp.serving.server.backend import Constraint, TextSpec
from catp.serving.server.build import EngineOptions
from tests.serving.e2e.engines import collect, engine, hf_greedy, text_of, tiny_llama, tokenizer

GREEDY = Sampling(temperature=0.0)
PROMPTS = [tuple(range(10, 10 + length)) for length in (1, 3, 15, 16, 17, 40, 90)]


def spec(prompt: tuple[int, ...], tokens: int = 24, **more: object) -> TextSpec:
    return TextSpec("tiny", prompt, max_tokens=tokens, ignore_eos=True, sampling=GREEDY, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("budget", [8, 32, 512])
async def test_greedy_texts_are_those_of_transformers_in_any_batch_and_chunk(budget: int) -> None:
    expected = [hf_greedy(tiny_llama(), prompt, 24) for prompt in PROMPTS]
    options = EngineOptions(threads=1, kv_memory=8 << 20, token_budget=budget)
    with engine(options) as backend:
        found = await asyncio.gather(*(collect(backend, spec(prompt)) for prompt in PROMPTS))
        again = await asyncio.gather(*(collect(backend, spec(prompt)) for prompt in PROMPTS))
    for (events, end), (repeated, last), tokens, prompt in zip(found, again, expected, PROMPTS, strict=True):
        assert text_of(events)[1] == text_of(repeated)[1] == tokens
        assert end.reason == "length"
        assert end.usage.output_tokens == 24
        assert last.usage.cached_tokens == 16 * ((len(prompt) - 1) // 16)


async def test_choices_with_the_same_seed_share_what_they_write_and_others_part() -> None:
    sampling = Sampling(temperature=1.0)
    prompt = PROMPTS[4]
    with engine() as backend:
        many = TextSpec("tiny", prompt, (1, 2, 1), sampling, 12, ignore_eos=True)
        events, end = await collect(backend, many)
        alone = [
            text_of((await collect(backend, TextSpec("tiny", prompt, (seed,), sampling, 12, ignore_eos=True)))[0])[1]
            for seed in (1, 2)
        ]
    assert [text_of(events, index)[1] for index in range(3)] == [alone[0], alone[1], alone[0]]
    assert alone[0] != alone[1]
    # what choices have in common is written once
    assert end.usage.output_tokens == len({tuple(text[:length]) for text in alone for length in range(1, 13)})


async def test_a_stop_text_ends_a_choice_and_is_left_out_of_it() -> None:
    with engine() as backend:
        events, _ = await collect(backend, spec(PROMPTS[3], 40))
        whole, _ = text_of(events)
        stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
        cut, end = await collect(backend, spec(PROMPTS[3], 40, stop=(stop,)))
    assert text_of(cut)[0] == whole[: whole.index(stop)]
    assert end.reason == "stop"


async def test_a_schema_is_kept_whatever_the_model_would_rather_write() -> None:
    schema = json.dumps(
        {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"], "additionalProperties": False}
    )
    with engine() as backend:
        sent = TextSpec("tiny", "give", (3,), max_tokens=60, constraint=Constraint("json_schema", schema))
        events, end = await collect(backend, sent)
    text, _ = text_of(events)
    assert text in ('{"a":"x"}', '{"a":"y"}')
    assert end.reason == "stop"
    assert end.usage.forced_tokens > 0


@pytest.mark.parametrize(
    ("prompt", "tokens", "reason"),
    [((5, 10**6), 4, "bad_tokens"), ((5,) * 600, 4, "too_long"), ((5,) * 500, 100, "too_long"), ((), 4, "bad_request")],
)
async def test_what_can_never_be_served_is_refused_at_once(prompt: tuple[int, ...], tokens: int, reason: str) -> None:
    with engine() as backend:
        with pytest.raises(Refused) as refused:
            await backend.submit(spec(prompt, tokens))
        assert refused.value.reason == reason
        assert refused.value.status == 400
        _, end = await collect(backend, spec(PROMPTS[0], 2))  # and the next one is served
    assert end.reason == "length"


async def test_a_cancelled_request_ends_once_and_gives_its_blocks_back() -> None:
    with engine() as backend:
        ticket = await backend.submit(spec(PROMPTS[5], 300))
        seen = 0
        reasons = []
        async for event in ticket:
            seen += 1
            if seen == 3:
                ticket.cancel("enough")
                ticket.cancel("twice")
            if hasattr(event, "reason"):
                reasons.append(event.reason)
        assert reasons == ["cancelled"]
        pool = backend.engine.core.scheduler.pool
        _, end = await collect(backend, spec(PROMPTS[0], 2))
        assert end.reason == "length"
        assert pool.used == 0


async def test_logprobs_are_the_models_own() -> None:
    import torch

    prompt = PROMPTS[2]
    asked = TextSpec("tiny", prompt, sampling=Sampling(temperature=0.0, logprobs=3), max_tokens=4, ignore_eos=True)
    with engine() as backend:
        events, _ = await collect(backend, asked)
    ids = list(prompt)
    for delta in events:
        (shown,) = delta.logprobs  # type: ignore[union-attr]
        with torch.no_grad():
            logp = torch.log_softmax(tiny_llama()(torch.tensor([ids])).logits[0, -1], -1)
        best = torch.topk(logp, 3)
        assert [one.token for one in shown.top] == best.indices.tolist()
        assert shown.logprob == pytest.approx(float(logp[shown.token]), abs=1e-4)
        assert tokenizer().decode([shown.token]) is not None
        ids.append(shown.token)
