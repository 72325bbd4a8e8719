"""Constraints through the engine where there is little or nothing to decide."""

import asyncio

import pytest

from catp.serving.engine.sampling import Sampling
from catp.serving.server.backend import Constraint, TextSpec
from tests.serving.e2e.engines import collect, engine, text_of, tokenizer


def spec(kind: str, form: str, *, seeds: tuple[int, ...] = (3,), tokens: int = 60) -> TextSpec:
    return TextSpec("tiny", "give", seeds, Sampling(), tokens, constraint=Constraint(kind, form))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "form", "text"),
    [
        ("json_schema", '{"const": "Yes Sir"}', '"Yes Sir"'),
        ("regex", "abc", "abc"),
        ("json_schema", '{"const": 1}', "1"),
    ],
)
async def test_a_text_that_is_forced_to_its_end_is_written_once_and_ends(kind: str, form: str, text: str) -> None:
    with engine() as backend:
        events, end = await asyncio.wait_for(collect(backend, spec(kind, form, seeds=(1, 2))), 30)
    for index in range(2):
        assert text_of(events, index)[0] == text
        assert tokenizer().decode(text_of(events, index)[1]) == text
    assert end.reason == "stop"
    assert end.usage.forced_tokens == end.usage.output_tokens == len(text_of(events)[1])


async def test_a_bound_within_what_is_forced_first_ends_there() -> None:
    with engine() as backend:
        events, end = await asyncio.wait_for(collect(backend, spec("regex", "abcdefgh(x|y)z", tokens=3)), 30)
        after, _ = await asyncio.wait_for(collect(backend, spec("regex", "abc(x|y)z")), 30)
    assert len(text_of(events)[1]) == 3
    assert "abcdefgh".startswith(text_of(events)[0])
    assert end.reason == "length"
    assert text_of(after)[0] in ("abcxz", "abcyz")
