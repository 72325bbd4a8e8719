"""How text is sampled: parameters as in OpenAI's API, and one draw of one branch."""

from dataclasses import dataclass
from typing import Any

__all__ = ["Draw", "Drawn", "Sampling"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """Parameters; temperature 0 is greedy. `logprobs` asks for the token's and for that many of the likeliest."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Draw:
    """One token to draw.

    Args:
        sampling: parameters.
        seed: of the walker; with `place` it decides the noise, whatever batch the draw is part of.
        place: how many tokens the walker has drawn so far.
        prompt, output: ids that penalties look at (repetition: both; presence and frequency: output).
        allowed: little-endian packed bits over the vocabulary (numpy uint32, as llguidance fills them); None: all.
    """

    sampling: Sampling
    seed: int
    place: int
    prompt: tuple[int, ...] = ()
    output: tuple[int, ...] = ()
    allowed: Any = None


@dataclass(frozen=True, slots=True)
class Drawn:
    """A drawn token; its log-probability before temperature and truncation, and the likeliest tokens if asked for."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
