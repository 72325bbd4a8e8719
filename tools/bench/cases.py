"""What the bench asks of a tool: arguments, the condition they are in, and how to score the answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from catp.tools.builtin.facts import describe

__all__ = ["IMAGE", "Case", "condition_of"]

IMAGE = "image"
"""The name of the argument that restoring tools work on."""


@dataclass(frozen=True, slots=True)
class Case:
    """One question with a known answer.

    `conditions` are the labels the score is filed under. `chains` are sequences of restoring tools to put before the
    tool under test, each besides none; their names are appended to the label. `score` gets the tool's result.
    """

    capability: str
    args: Mapping[str, Any]
    conditions: tuple[str, ...]
    score: Callable[[Any], float]
    chains: tuple[tuple[str, ...], ...] = ()


def condition_of(image: Image.Image) -> str:
    """The label the probe gives a picture: the planner sees the probe's word, so the bench files under it too."""
    return describe(image).condition
