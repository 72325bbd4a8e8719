"""The outputs of several runs beside each other, and how two texts differ."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from catp.dashboard.read.node_page import value_json
from catp.dashboard.read.text_diff import text_diff
from catp.store import queries
from catp.store.store import RunStore

__all__ = ["compare_outputs"]


def compare_outputs(store: RunStore, ids: Sequence[str], pair: tuple[int, int]) -> list[dict[str, Any]]:
    """Return `[{"name", "values": {run: value}, "diff"}]`, in the order of the first plan that has each output.

    A value has what `/io` says of it, and `status` with its `reason` if the run gave none. `diff` is from one run of
    the pair to the other, None unless both are texts that are short enough.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for run in ids:
        kept = {value.name: value for value in store.values(run) if value.kind == "output"}
        ends = {end.name: end for end in store.database.read(partial(queries.outputs, run_id=run))}
        for name in [*ends, *(name for name in kept if name not in ends)]:
            end = ends.get(name)
            about = {"status": "ok" if end is None else end.status, "reason": None if end is None else end.reason}
            value = value_json(store, kept[name]) if name in kept and about["status"] == "ok" else {}
            found.setdefault(name, {})[run] = {**about, **value}
    return [
        {"name": name, "values": values, "diff": _diff(values, ids[pair[0]], ids[pair[1]])}
        for name, values in found.items()
    ]


def _diff(values: dict[str, dict[str, Any]], old: str, new: str) -> list[list[str]] | None:
    left, right = (values.get(run, {}).get("text") for run in (old, new))
    if left is None or right is None:
        return None
    parts = text_diff(left, right)
    return None if parts is None else [[*part] for part in parts]
