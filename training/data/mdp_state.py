"""A plan under construction: what has been decided, what may be decided next, and how both look as numbers.

The MDP is described in `catp.training.data.mdp`; what the numbers mean in `mdp_layout`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from catp.planlang.types import ANY, Type
from catp.training.data.mdp_layout import Layout
from catp.training.data.mdp_types import Types
from catp.training.data.trajectory import Trajectory

__all__ = ["PlanState"]

Floats32 = NDArray[np.float32]

_LEAST_SHARE: Final = 1e-6
"""Prices below this share of the price scale look alike."""


@dataclass
class _Slot:
    """A value: an input, or the result of a step."""

    type: Type
    depth: int = 0
    units: float = 0.0
    items: float = 0.0
    condition: str = ""
    price: float = 0.0
    is_input: bool = False
    used: bool = False


class PlanState:
    """A plan under construction. `observation()` and `mask()` describe it, `step` takes a decision.

    Args:
        layout: What the numbers mean.
        types: What fits where.
        record: Whose request it is; its plan and outcome are not looked at.
        offered: The tools in the tool slots.
        shares: The expected price of a step with each of them, in shares of the price scale; nan if unknown.
        accuracies: What is known of the accuracy of each.
    """

    def __init__(
        self, layout: Layout, types: Types, record: Trajectory, offered: Sequence[str], shares: Sequence[float],
        accuracies: Sequence[float],
    ) -> None:  # fmt: skip
        self.layout, self.types, self.offered = layout, types, tuple(offered)
        self.done = False
        self._shares, self._accuracies = shares, accuracies
        self._wanted = tuple(types.parse(kind) for kind in record.request.wanted)
        self._budget = _budget(record)
        self.slots = [
            _Slot(
                types.parse(one.type), 0, float(one.units or 0), float((one.size or {}).get("items", 0)),
                one.condition or "", is_input=True,
            )
            for one in record.request.inputs
        ] or [_Slot(ANY, is_input=True)]  # fmt: skip
        self._tool: int | None = None
        self._links: list[int] = []

    def mask(self) -> NDArray[np.bool_]:
        """Which actions (A,) are allowed."""
        layout = self.layout
        allowed = np.zeros(layout.actions, dtype=bool)
        if self.done:
            return allowed
        if self._tool is None:
            if len(self.slots) < layout.slots:
                kinds = {slot.type for slot in self.slots}
                for k, tool in enumerate(self.offered):
                    allowed[k] = not self.types.takes(tool) or any(self.types.links(tool, kind) for kind in kinds)
            allowed[layout.stop] = self._complete()
            return allowed
        tool = self.offered[self._tool]
        for j, slot in enumerate(self.slots):
            allowed[layout.tools + j] = j not in self._links and self.types.links(tool, slot.type)
        allowed[layout.end] = bool(self._links) or not allowed.any()
        return allowed

    def step(self, action: int) -> None:
        """Take a decision; raise `ValueError` if the mask does not allow it."""
        layout = self.layout
        if not (0 <= action < layout.actions and self.mask()[action]):
            raise ValueError(f"action {action} is not allowed here")
        if action == layout.stop:
            self.done = True
        elif action == layout.end:
            assert self._tool is not None
            used = [self.slots[j] for j in self._links]
            for slot in used:
                slot.used = True
            kind = self.types.result(self.offered[self._tool], (slot.type for slot in used))
            depth = 1 + max((slot.depth for slot in used), default=0)
            self.slots.append(_Slot(kind, depth, price=_known(self._shares[self._tool])))
            self._tool, self._links = None, []
        elif action >= layout.tools:
            self._links.append(action - layout.tools)
        else:
            self._tool = action

    def observation(self) -> Floats32:
        """Return the features (D,), alpha left at 0."""
        layout = self.layout
        parts = [self._plan()]
        slots = np.zeros((layout.slots, 8 + len(layout.types) + len(layout.conditions)), dtype=np.float32)
        for j, slot in enumerate(self.slots[: layout.slots]):
            slots[j] = self._value(j, slot)
        tools = np.zeros((layout.tools, 6 + 2 * len(layout.types)), dtype=np.float32)
        for k, tool in enumerate(self.offered):
            tools[k] = self._offer(k, tool)
        parts += [slots.ravel(), tools.ravel(), self.mask().astype(np.float32)]
        return np.concatenate(parts)

    def _plan(self) -> Floats32:
        layout = self.layout
        kinds, missing = np.zeros(len(layout.types)), np.zeros(len(layout.types))
        for wanted in self._wanted:
            place = layout.type_index(str(wanted))
            kinds[place] += 1
            missing[place] += not self._there(wanted)
        spent = sum(slot.price for slot in self.slots)
        head = [
            0.0, len(self.slots) / layout.slots, _squashed(spent), float(self._tool is not None),
            0.0 if self._budget is None else _squashed(self._budget - spent), float(self._budget is not None),
        ]  # fmt: skip
        return np.concatenate([head, kinds, missing]).astype(np.float32)

    def _value(self, j: int, slot: _Slot) -> list[float]:
        kinds = [float(place == self.layout.type_index(str(slot.type))) for place in range(len(self.layout.types))]
        return [
            1.0, float(slot.is_input), math.log1p(slot.units) / 20, math.log1p(slot.items) / 5,
            slot.depth / self.layout.slots, _squashed(slot.price), float(slot.used), float(j in self._links),
            *kinds, *(float(slot.condition == one) for one in self.layout.conditions),
        ]  # fmt: skip

    def _offer(self, k: int, tool: str) -> list[float]:
        layout, share = self.layout, self._shares[k]
        takes, gives = [0.0] * len(layout.types), [0.0] * len(layout.types)
        for kind in self.types.takes(tool):
            takes[layout.type_index(str(kind))] = 1.0
        gives[layout.type_index(str(self.types.result(tool, ())))] = 1.0
        return [
            1.0, float(self._tool == k), _squashed(_known(share)), float(not math.isnan(share)), self._accuracies[k],
            len(self.types.takes(tool)) / 4, *takes, *gives,
        ]  # fmt: skip

    def _there(self, wanted: Type) -> bool:
        return any(self.types.gives(slot.type, wanted) for slot in self.slots)

    def _complete(self) -> bool:
        """Every wanted type is there; a plan has at least one step."""
        return any(not slot.is_input for slot in self.slots) and all(map(self._there, self._wanted))


def _budget(record: Trajectory) -> float | None:
    budget, scale = record.objective.budget_usd, record.objective.price_scale_usd
    return None if budget is None or not scale else float(budget / scale)


def _known(share: float) -> float:
    return 0.0 if math.isnan(share) else share


def _squashed(share: float) -> float:
    """A share of the price scale on a logarithmic scale: 0 for nothing, 1 for the whole scale."""
    return 1 + math.log10(max(share, _LEAST_SHARE)) / -math.log10(_LEAST_SHARE)
