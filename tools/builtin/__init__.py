"""The zoo: about forty real tools that run here, offline, on a CPU.

`zoo()` lists all of them, also those that cannot run on this machine; `default_catalogue()` is what the product uses
when it is given no tools of its own.
"""

import importlib
import importlib.resources
from typing import Any

from catp.tools.builtin.needs import needs
from catp.tools.catalogue import Catalogue
from catp.tools.decorator import Tool
from catp.tools.errors import ToolUnavailable
from catp.tools.profile import ProfileBook

__all__ = ["default_catalogue", "shipped_profiles", "zoo"]

_FAMILIES = (
    "looks", "denoise", "deblur", "upscale", "ocr", "codes", "faces", "language", "sentiment", "phrases", "entities",
    "answer", "writing",
)  # fmt: skip


def zoo() -> tuple[Tool[..., Any], ...]:
    """Return every built-in tool, whether it can run here or not; nothing heavy is imported."""
    found: list[Tool[..., Any]] = []
    for family in _FAMILIES:
        found.extend(importlib.import_module(f"catp.tools.builtin.{family}").TOOLS)
    return tuple(found)


def shipped_profiles() -> ProfileBook:
    """Return the measured prices, latencies and accuracies that ship with the product; empty if they are missing."""
    file = importlib.resources.files("catp") / "datasets" / "profiles" / "zoo.json"
    if not file.is_file():
        return ProfileBook()
    with importlib.resources.as_file(file) as path:
        return ProfileBook.load(path)


def default_catalogue(profiles: ProfileBook | None = None) -> Catalogue:
    """Return the built-in tools that can run on this machine, with `profiles` or the shipped ones.

    Raises:
        ToolUnavailable: the packages behind the zoo are not installed; the few tools that need none would mislead.
    """
    usable = [tool for tool in zoo() if tool.spec.unavailable() is None]
    if needs("cv2")() and needs("rapidocr")():
        raise ToolUnavailable("built-in tools", "not installed here; run: pip install 'catp[tools]'")
    return Catalogue(usable, profiles=profiles if profiles is not None else shipped_profiles())
