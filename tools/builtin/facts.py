"""What can be known of a value before anything is paid for: its type, its size, and its condition."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from catp.planlang.nodes import Duration, Usd
from catp.planlang.registry_view import Size, ValueFacts
from catp.planlang.types import ANY, Type, list_of
from catp.tools.annotations import resolve

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["SHORT_TEXT", "describe", "text_condition", "type_of"]

SHORT_TEXT = 60
"""Texts with fewer characters are in condition `short`: too little for most identifiers to go by."""

_SIMPLE: tuple[tuple[type, str], ...] = (
    (bool, "bool"), (int, "int"), (float, "number"), (Usd, "money"), (Duration, "duration"),
)  # fmt: skip


def describe(value: Any) -> ValueFacts:
    """Return the facts of an input value, found by looking at it here; no tool is called and nothing is spent.

    Size counts pixels of an image, characters of a text and bytes of a file; for lists, `count` is the number of
    elements and `units` the mean size of one. The condition of a list of images is that of its worst element.
    """
    if value is None:
        return ValueFacts(Type("null"))
    if _is_image(value):
        from catp.tools.builtin.probes import probe

        return ValueFacts(Type("image"), Size(value.width * value.height), probe(value).condition)
    if isinstance(value, str):
        return ValueFacts(Type("text"), Size(len(value)), text_condition(value))
    if isinstance(value, bytes):
        return ValueFacts(Type("file"), Size(len(value)))
    if isinstance(value, os.PathLike):
        path = Path(value)
        return ValueFacts(Type("file"), Size(path.stat().st_size if path.is_file() else 0))
    if isinstance(value, Mapping):
        return ValueFacts(Type("json"), Size(len(str(value))))
    if isinstance(value, Sequence):
        return _describe_list(value)
    return ValueFacts(_type_of(value))


def type_of(value: Any) -> Type:
    """Return the type `describe` finds, without looking at what makes a value easy or hard."""
    if _is_image(value):
        return Type("image")
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return _list_type({type_of(item) for item in value})
    return describe(value).type


def _is_image(value: Any) -> "TypeGuard[Image.Image]":
    """Where nobody has loaded Pillow there is no image: a process that only shows runs does without it (15 MiB)."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image)


def text_condition(text: str) -> str:
    """Return `short` or `plain`."""
    return "short" if len(text) < SHORT_TEXT else "plain"


def _describe_list(values: Sequence[Any]) -> ValueFacts:
    if not values:
        return ValueFacts(list_of(ANY), Size(0, 0))
    found = [describe(value) for value in values]
    hardest = max((facts.condition for facts in found), key=_hardness)
    mean = round(sum(facts.size.units for facts in found) / len(found))
    return ValueFacts(_list_type({facts.type for facts in found}), Size(mean, len(found)), hardest)


def _list_type(items: set[Type]) -> Type:
    return list_of(items.pop() if len(items) == 1 else ANY)


def _hardness(condition: str) -> int:
    order = ("", "plain", "clean", "small", "short", "noisy", "blurred", "impulse", "very_noisy", "blurred_noisy")
    return order.index(condition)


def _type_of(value: Any) -> Type:
    for kind, name in _SIMPLE:
        if isinstance(value, kind):
            return Type(name)
    try:
        return resolve(type(value)).type
    except TypeError:
        return ANY
