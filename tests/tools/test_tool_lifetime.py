"""`cache=` on tools: what it means, what is refused where the tool is defined, and what belongs to the key."""

import math
from typing import Any

import pytest

from catp.planlang.registry_view import Effect
from catp.tools.adapters.http import http_tool
from catp.tools.adapters.llm import llm_tool
from catp.tools.adapters.subprocess_tool import command_tool
from catp.tools.decorator import tool
from catp.tools.errors import ToolDefinitionError
from catp.tools.lifetime import lifetime_in
from catp.tools.spec import ToolSpec


def made(cache: Any, effects: Effect = "pure") -> ToolSpec:
    @tool(cache=cache, effects=effects, placement="thread")
    def look(text: str) -> str:
        return text

    return look.spec


@pytest.mark.parametrize(
    ("cache", "seconds"), [(False, None), (True, math.inf), ("10m", 600.0), ("500ms", 0.5), (90, 90.0), (0.5, 0.5)]
)
def test_a_lifetime_is_a_time_or_for_ever(cache: Any, seconds: float | None) -> None:
    assert made(cache).cache_ttl_s == seconds


@pytest.mark.parametrize(
    ("cache", "effects", "message"),
    [
        ("soon", "pure", "'10m', seconds, True or False, not 'soon'"),
        ("0s", "pure", "above zero"),
        (0, "read", "above zero"),
        (-1, "read", "above zero"),
        (math.nan, "read", "above zero"),
        (True, "read", "what it reads may change; say for how long"),
        ("1h", "write", "it writes, so its results are never used again"),
        (True, "write", "it writes"),
    ],
)
def test_what_cannot_be_meant_is_refused_where_the_tool_is_made(cache: Any, effects: Effect, message: str) -> None:
    with pytest.raises(ToolDefinitionError, match=message):
        made(cache, effects)


def test_adapters_keep_results_too() -> None:
    params = {"q": str}
    get = http_tool("get", "GET", "http://x/{q}", params=params, returns=str, cache="10m")
    ask = llm_tool("ask", model="m", prompt="{q}", params=params, cache=60)
    run = command_tool("run", ["echo", "{q}"], params=params, returns=str, cache=True)
    assert [spec.cache_ttl_s for spec in (get, ask, run)] == [600.0, 60.0, math.inf]
    with pytest.raises(ToolDefinitionError, match="tool 'post': it writes"):
        http_tool("post", "POST", "http://x", params=params, returns=str, cache="10m")
    with pytest.raises(ToolDefinitionError, match="tool 'get': cache must be a time"):
        http_tool("get", "GET", "http://x/{q}", params=params, returns=str, cache="10")


def test_another_prompt_or_program_is_another_key() -> None:
    params = {"q": str}
    prompts = [llm_tool("ask", model="m", prompt=text, params=params).definition for text in ("{q}", "{q}!", "{q}")]
    assert prompts[0] != prompts[1]
    assert prompts[0] == prompts[2]
    cold = llm_tool("ask", model="m", prompt="{q}", params=params, temperature=1.0).definition
    assert cold != prompts[0]
    programs = {command_tool("run", [name, "{q}"], params=params, returns=str).definition for name in ("cat", "echo")}
    assert len(programs) == 2


@pytest.mark.parametrize(
    ("effects", "own", "asked", "holds"),
    [
        ("pure", None, None, None), ("pure", None, math.inf, math.inf), ("pure", None, 60.0, 60.0),
        ("pure", 600.0, None, 600.0), ("pure", 600.0, 3600.0, 600.0), ("pure", 600.0, math.inf, 600.0),
        ("pure", math.inf, None, math.inf), ("pure", math.inf, 60.0, 60.0), ("pure", math.inf, 0.0, None),
        ("read", None, math.inf, None), ("read", None, 60.0, 60.0), ("read", 600.0, math.inf, 600.0),
        ("write", None, 60.0, None), ("write", None, math.inf, None),
    ],
)  # fmt: skip
def test_tool_and_step_decide_together(
    effects: Effect, own: float | None, asked: float | None, holds: float | None
) -> None:
    assert lifetime_in(effects, own, asked) == holds
