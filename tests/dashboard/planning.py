"""Fake tools with prices and accuracies, and the agent over them that the dashboard's planning is tested with."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from catp.agent import Agent
from catp.store.store import RunStore
from catp.tools import Catalogue, PerCall, tool

__all__ = ["CALLED", "TASK", "TEXT", "TWO", "agent_over"]

CALLED: list[str] = []
"""Every call of a tool, so that a test can say that none was made."""

TASK = "what is the mood of this text?"
TEXT = {"text": {"text": "a good day, and a long enough sentence to go by for everybody who reads it"}}

TWO = 'plan gists "mood and gist"\nin text: text\n\nmood = mood_cheap(text)\nline = gist(text)\nout mood, line?\n'


@dataclass(frozen=True)
class Sentiment:
    """How a text feels."""

    label: str
    score: float


@dataclass(frozen=True)
class Gist:
    """What a text says, in short."""

    line: str


@tool(price=PerCall("0.001"), accuracy=0.7, capability="mood")
async def mood_cheap(text: str) -> Sentiment:
    """Judge the mood of a text by one word."""
    CALLED.append("mood_cheap")
    return Sentiment("good" if "good" in text else "bad", 0.6)


@tool(price=PerCall("0.02"), accuracy=0.95, capability="mood")
async def mood_fine(text: str) -> Sentiment:
    """Judge the mood of a text with care."""
    CALLED.append("mood_fine")
    return Sentiment("good" if "good" in text else "bad", 0.9)


@tool(price=PerCall("0.005"), accuracy=0.9, capability="gist")
async def gist(text: str) -> Gist:
    """Say what a text says in one line."""
    CALLED.append("gist")
    if "raise" in text:
        raise RuntimeError("no gist today")
    if "slow" in text:
        await asyncio.sleep(300)
    return Gist(text[:10])


@tool(price=PerCall("0.003"), effects="write", capability="post")
async def post(text: str) -> str:
    """Put a text on the wall."""
    CALLED.append("post")
    return "posted"


CATALOGUE = Catalogue((mood_cheap, mood_fine, gist, post))


def agent_over(**options: Any) -> Callable[[RunStore], Agent]:
    """Return an `agent_for` whose agent plans by search over the tools here."""

    def agent_for(store: RunStore) -> Agent:
        return Agent(CATALOGUE, planner="search", store=store, cache=False, **options)

    return agent_for
