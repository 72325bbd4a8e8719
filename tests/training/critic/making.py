"""Small critics for tests, on the world of pages."""

from typing import Any

from catp.training.critic.config import CriticConfig
from catp.training.critic.decisions import Coder
from catp.training.evaluate.candidates import CandidateSet

TINY: dict[str, Any] = {
    "hidden": (16, 16), "batch": 16, "steps": 20, "every": 10, "tools": 5, "slots": 5, "max_sets": 30,
    "max_holdout": 8, "n_critics": 2, "layers": 1, "heads": 2, "target_every": 5,
}  # fmt: skip


def tiny(**changed: Any) -> CriticConfig:
    """A config whose training takes a second."""
    return CriticConfig(**TINY | changed)


def coder_of(sets: list[CandidateSet], *, tools: int = 5, slots: int = 5) -> Coder:
    """A coder without types."""
    return Coder.fit(sets, None, tools=tools, slots=slots)
