"""An agent that keeps profiles learns between its runs, in memory and in its file; one that keeps none does not."""

from pathlib import Path

import pytest

from catp.agent import Agent
from catp.planlang.parser import parse
from catp.tools import Catalogue, ComputePrice, ProfileBook, tool

PLAN = parse("in text: text\nseen = look(text)\nout seen\n")


@tool(price=ComputePrice(), placement="thread")
def look(text: str) -> str:
    """Return the text."""
    return text


@pytest.mark.parametrize("keeps", [True, False])
async def test_the_next_quote_knows_the_calls_of_the_last_run(tmp_path: Path, keeps: bool) -> None:
    path = tmp_path / "profiles.json"
    given = ProfileBook()
    bot = Agent(Catalogue([look], given), profiles=path if keeps else None)
    first = await bot.run(PLAN, {"text": "a good day"})
    assert first.quote.compiled.estimate.unpriced == ("seen",)
    second = await bot.run(PLAN, {"text": "a good day"})
    assert second.quote.compiled.estimate.unpriced == (() if keeps else ("seen",))
    assert len(given) == 0, "the book that was handed in is the caller's"
    assert path.exists() is keeps
    if keeps:
        profile = ProfileBook.load(path).get("look")
        assert profile is not None
        assert profile.calls == 2
        assert profile.calibration.price.held.weight == 1, "only the second call had been predicted"
