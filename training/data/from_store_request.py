"""What a run of the store was asked: the request as a record holds it, and which runs were asked the same."""

import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from catp.planlang.check import check
from catp.planlang.nodes import Plan as LangPlan
from catp.planlang.registry_view import RegistryView
from catp.planlang.types import Type
from catp.tools.sizes import size_of
from catp.training.data.trajectory import InputInfo, Request

if TYPE_CHECKING:
    from catp.store.records import RunSummary, StoredValue

__all__ = ["candidate_set_of", "request_of", "short_digest"]

_UNITS: Final = {"image": "pixels", "text": "chars", "file": "bytes"}


def candidate_set_of(summary: "RunSummary", values: Iterable["StoredValue"]) -> str:
    """Name the candidate set of a run: equal tasks with equal inputs are one set.

    Inputs whose bytes are gone are told apart by the run.
    """
    parts = [summary.task]
    for value in values:
        if value.kind == "input":
            parts += [value.name, str(value.element), _digest(value) or summary.id]
    return f"set-{short_digest(json.dumps(parts))}"


def request_of(
    text: str | None, plan: LangPlan, values: Iterable["StoredValue"], view: RegistryView | None
) -> Request:  # fmt: skip
    """Return the request: the text, and the inputs and outputs of the plan; types of outputs if tools are known."""
    kept = {value.name: value for value in values if value.kind == "input"}
    inputs = [
        InputInfo(
            name=one.name,
            type=str(one.type),
            size=_size(one.type, kept.get(one.name)),
            sha256=_digest(kept.get(one.name)),
        )
        for one in plan.inputs
    ]
    outputs = [output.name for output in plan.outputs]
    return Request(text=text, inputs=inputs, outputs=outputs, wanted=_wanted(plan, view))


def _wanted(plan: LangPlan, view: RegistryView | None) -> list[str]:
    """The types of the outputs, if the tools are known and the plan fits them."""
    if view is None:
        return []
    checked = check(plan, view)
    if checked.errors:
        return []
    found: list[str] = []
    for output in plan.outputs:
        type_: Type | None = checked.types[output.ref.root]
        for part in output.ref.path:
            if type_ is not None:
                type_ = type_.item if isinstance(part, int) else view.types.field(type_, part)
        found.append("any" if type_ is None else str(type_.required))
    return found


def _size(type_: Type, value: "StoredValue | None") -> dict[Any, int] | None:
    """The size of an input in units of its type; None if the value cannot be read back."""
    if value is None or value.codec is None:
        return None
    try:
        size = size_of(value.value())
    except (ValueError, OSError, LookupError):  # its bytes are gone, or its class is not known here
        return None
    unit = _UNITS.get(type_.item.name if type_.item is not None else type_.name, "chars")
    found: dict[Any, int] = {unit: size.units}
    if type_.item is not None:
        found["items"] = size.count
    return found


def _digest(value: "StoredValue | None") -> str | None:
    """SHA-256 of the value as it is kept."""
    if value is None:
        return None
    if value.sha256 is not None:
        return value.sha256
    return hashlib.sha256(value.read()).hexdigest()


def short_digest(text: str) -> str:
    """Return the first 16 digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
