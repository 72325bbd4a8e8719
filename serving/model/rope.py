"""Rotary positions (Su et al., "RoFormer", 2104.09864) with the stretchings of Hugging Face's checkpoints."""

import math

import torch

from catp.serving.model.config import ModelConfig

__all__ = ["Rotary", "frequencies", "rotate"]


def frequencies(config: ModelConfig) -> torch.Tensor:
    """Return the angle per position of each pair of a head, (head size / 2,) float32.

    `dynamic` (NTK by length) changes nothing within the trained positions, and a context never is longer here: keys in
    the cache cannot be rotated anew when a sequence grows. `llama3` divides long wavelengths by its factor, keeps short
    ones and goes from one to the other smoothly between (Llama 3.1's `apply_scaling`).
    """
    rope = config.rope
    inverse = 1.0 / (rope.theta ** (torch.arange(0, config.head_size, 2, dtype=torch.float32) / config.head_size))
    if rope.kind == "linear":
        return inverse / rope.factor
    if rope.kind == "llama3":
        wavelength = 2 * math.pi / inverse
        share = ((rope.original / wavelength - rope.low) / (rope.high - rope.low)).clamp(0.0, 1.0)
        return (1 - share) * inverse / rope.factor + share * inverse
    return inverse


class Rotary:
    """Cosines and sines of positions, computed when they are needed: a table would be large and is no faster.

    Args:
        config: of the model.
        dtype, device: of the model; angles are computed in float32 whatever it is.
    """

    def __init__(self, config: ModelConfig, dtype: torch.dtype, device: torch.device) -> None:
        self._frequencies = frequencies(config).to(device)
        self._dtype = dtype

    def __call__(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return cosines and sines of positions (N,), each (N, 1, head size / 2)."""
        angles = positions[:, None, None].float() * self._frequencies
        return angles.cos().to(self._dtype), angles.sin().to(self._dtype)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate heads (N, heads, size) by the angles of their positions; pair i is elements i and i + size / 2."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
