"""Probes a planner may put into a plan: what kind of picture is this, and how damaged is it?"""

from typing import Any

from PIL import Image

from catp.tools.builtin.pixels import grey
from catp.tools.builtin.probes import probe
from catp.tools.builtin.records import ImageStats, NoiseEstimate
from catp.tools.decorator import Tool, tool
from catp.tools.price import ComputePrice

__all__ = ["TOOLS", "estimate_noise", "image_stats"]


@tool(capability="image_stats", price=ComputePrice(), family="vision")
def image_stats(image: Image.Image) -> ImageStats:
    """Measure size, mean brightness and contrast."""
    array = grey(image)
    return ImageStats(image.width, image.height, round(float(array.mean()), 2), round(float(array.std()), 2))


@tool(capability="estimate_noise", price=ComputePrice(), family="vision")
def estimate_noise(image: Image.Image) -> NoiseEstimate:
    """Measure noise, specks and blur, and name the condition of the picture."""
    return probe(image)


TOOLS: tuple[Tool[..., Any], ...] = (image_stats, estimate_noise)
