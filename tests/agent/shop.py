"""Three small paid tools with declared prices and accuracies, and an agent over them."""

import asyncio
from dataclasses import dataclass
from typing import Any

from catp.agent import Agent
from catp.tools import Catalogue, PerCall, tool


@dataclass(frozen=True)
class Mood:
    """How a text feels."""

    label: str
    score: float


@dataclass(frozen=True)
class Gist:
    """What a text says, in short."""

    line: str


@tool(price=PerCall("0.001"), accuracy=0.7, capability="mood")
async def mood_cheap(text: str) -> Mood:
    """Judge the mood of a text by one word."""
    return Mood("good" if "good" in text else "bad", 0.6)


@tool(price=PerCall("0.02"), accuracy=0.95, capability="mood")
async def mood_fine(text: str) -> Mood:
    """Judge the mood of a text with care."""
    await asyncio.sleep(0)
    return Mood("good" if "good" in text else "bad", 0.9)


@tool(price=PerCall("0.005"), accuracy=0.9, capability="gist", timeout=5.0)
async def gist(text: str) -> Gist:
    """Say what a text says in one line."""
    if text == "raise":
        raise RuntimeError("no gist today")
    if text == "hang":
        await asyncio.sleep(3600)
    return Gist(text[:10])


TOOLS = (mood_cheap, mood_fine, gist)
CATALOGUE = Catalogue(TOOLS)


def agent(**options: Any) -> Agent:
    return Agent(CATALOGUE, **options)
