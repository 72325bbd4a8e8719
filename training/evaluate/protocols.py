"""What is held out: which sets a chooser learns from, and which it is judged on.

    kfold      held-out tasks: 5 parts of the tasks, each judged by a chooser that learnt from the others
    split      held-out tasks: the file's own split (`split.name`), train and val against test
    inputs     held-out inputs of known tasks: the file's own split (`split.inputs`)
    loo        held-out inputs of known tasks: each input in turn (in 10 parts, for choosers that must be fitted anew)
    phrasing   held-out wordings: the file's own split (`split.phrasing`); matters to whoever reads the text
    tools      held-out tools: learn without any plan that uses them, be judged where such plans are offered
    prices     held-out price tables: learn from the measured prices, be judged when each tool costs 0.2 to 5 times that

Sides never share an input, except in `loo` for choosers that leave each input out themselves.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from catp.training.baselines.chooser import LISTED, Prices
from catp.training.evaluate.candidates import CandidateSet

__all__ = ["PROTOCOLS", "Fold", "folds", "price_tables"]

_PARTS = 5
_INPUT_PARTS = 10
_TABLES = 5
_LOWEST, _HIGHEST = 0.2, 5.0


@dataclass(frozen=True)
class Fold:
    """One fit: the sets to learn from, the sets to be judged on (as measured under `prices`)."""

    train: Sequence[CandidateSet]
    test: Sequence[CandidateSet]
    prices: Prices = LISTED


def folds(
    sets: Sequence[CandidateSet],
    protocol: str = "kfold",
    *,
    seed: int = 0,
    tools: Sequence[Collection[str]] | None = None,
    tables: Sequence[Prices] | None = None,
) -> list[Fold]:
    """Return the folds of a protocol; the same for the same seed.

    Args:
        sets: measured candidate sets, of one data set.
        protocol: one of `PROTOCOLS`.
        seed: of the parts, of which tools are held out together, and of the price tables.
        tools: for `tools`, the groups of tools to hold out, one fold each; by default, all tools in 5 parts.
        tables: for `prices`, the price tables; by default 5 with log-uniform factors (`price_tables`).

    Raises:
        ValueError: the protocol is unknown, or the sets do not carry its split, or leave a side empty.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; one of {', '.join(PROTOCOLS)}")
    if protocol == "tools":
        found = list(_tools(sets, seed, tools))
    elif protocol == "prices":
        found = list(_prices(sets, seed, tables))
    else:
        found = list(PROTOCOLS[protocol](sets, seed))
    if not found or not all(fold.train and fold.test for fold in found):
        raise ValueError(f"protocol {protocol!r}: nothing to learn from or nothing to be judged on in {len(sets)} sets")
    return found


def price_tables(sets: Sequence[CandidateSet], count: int = _TABLES, seed: int = 0) -> list[Prices]:
    """Return tables that multiply each tool's price by a log-uniform factor in [0.2, 5]."""
    names = _tool_names(sets)
    low, high = math.log(_LOWEST), math.log(_HIGHEST)
    return [
        Prices(dict(zip(names, np.exp(np.random.default_rng([seed, table]).uniform(low, high, len(names))).tolist(),
                        strict=True)))
        for table in range(count)
    ]  # fmt: skip


def _kfold(sets: Sequence[CandidateSet], seed: int) -> Iterator[Fold]:
    groups = sorted({one.group for one in sets})
    if len(groups) < 2:
        raise ValueError(f"protocol 'kfold' holds out tasks, but there is only {groups}; use loo")
    order = np.random.default_rng([seed, len(groups)]).permutation(len(groups))
    for part in range(min(_PARTS, len(groups))):
        held = {groups[place] for place in order[part::_PARTS]}
        yield Fold([one for one in sets if one.group not in held], [one for one in sets if one.group in held])


def _within(sets: Sequence[CandidateSet], parts: int, seed: int) -> Iterator[Fold]:
    """Parts of the inputs of each task."""
    by_group: dict[str, list[str]] = defaultdict(list)
    for one in sets:
        by_group[one.group].append(one.id)
    part: dict[str, int] = {}
    for number, group in enumerate(sorted(by_group)):
        ids = sorted(by_group[group])
        order = np.random.default_rng([seed, number]).permutation(len(ids))
        part.update({ids[place]: position % parts for position, place in enumerate(order)})
    for held in sorted(set(part.values())):
        train, test = ([one for one in sets if (part[one.id] == held) is side] for side in (False, True))
        yield Fold(train, test)


def _own(key: str) -> Callable[[Sequence[CandidateSet], int], Iterator[Fold]]:
    """The file's own split. Where inputs or wordings are held out, held-out tasks are on neither side."""

    def split(sets: Sequence[CandidateSet], seed: int) -> Iterator[Fold]:
        sides = [None if key != "name" and one.split.get("name") == "test" else one.split.get(key) for one in sets]
        if "test" not in sides or "train" not in sides:
            raise ValueError(
                f"protocol {'split' if key == 'name' else key!r}: the records have no split.{key} with both sides; "
                "use kfold or loo, or see catp data split"
            )
        train = [one for one, side in zip(sets, sides, strict=True) if side in ("train", "val")]
        yield Fold(train, [one for one, side in zip(sets, sides, strict=True) if side == "test"])

    return split


def _tools(sets: Sequence[CandidateSet], seed: int, groups: Sequence[Collection[str]] | None) -> Iterator[Fold]:
    """Known tasks, new inputs, new tools: what is measured is the new tool, not the new task."""
    names = _tool_names(sets)
    order = np.random.default_rng([seed, len(names)]).permutation(len(names))
    parts = [[names[place] for place in order[part::_PARTS]] for part in range(min(_PARTS, len(names)))]
    base = _inputs(sets, seed)
    for held in map(frozenset, groups if groups is not None else parts):
        train = [left for one in base.train if (left := _without(one, held)) is not None]
        test = [one for one in base.test if any(held.intersection(option.tools) for option in one.options)]
        if train and test:
            yield Fold(train, test, _listed(base.train, held))


def _prices(sets: Sequence[CandidateSet], seed: int, tables: Sequence[Prices] | None) -> Iterator[Fold]:
    base = _inputs(sets, seed)
    for table in tables if tables is not None else price_tables(sets, seed=seed):
        yield Fold(base.train, [table.applied(one) for one in base.test], table)


def _inputs(sets: Sequence[CandidateSet], seed: int) -> Fold:
    """The file's split of inputs if there is one, else a fifth of the inputs of each task."""
    if {"train", "test"} <= {one.split.get("inputs") for one in sets if one.split.get("name") != "test"}:
        return next(_own("inputs")(sets, seed))
    return next(_within(sets, _PARTS, seed))


def _without(one: CandidateSet, held: Collection[str]) -> CandidateSet | None:
    left = tuple(option for option in one.options if not any(tool in held for tool in option.tools))
    return replace(one, options=left) if left else None


def _listed(sets: Sequence[CandidateSet], held: Collection[str]) -> Prices:
    """What the profiles of new tools say: the mean price and time of a call."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for one in sets:
        for option in one.options:
            for step in option.steps:
                if step.tool in held:
                    found[step.tool].append((step.price, step.ms))
    means: Mapping[str, tuple[float, float]] = {tool: tuple(np.mean(rows, axis=0)) for tool, rows in found.items()}
    return Prices(
        listed={t: float(m[0]) for t, m in means.items()}, listed_ms={t: float(m[1]) for t, m in means.items()}
    )


def _tool_names(sets: Sequence[CandidateSet]) -> list[str]:
    return sorted({tool for one in sets for option in one.options for tool in option.tools})


PROTOCOLS: Mapping[str, Callable[[Sequence[CandidateSet], int], Iterator[Fold]]] = {
    "kfold": _kfold,
    "split": _own("name"),
    "inputs": _own("inputs"),
    "loo": lambda sets, seed: _within(sets, _INPUT_PARTS, seed),
    "phrasing": _own("phrasing"),
    "tools": lambda sets, seed: _tools(sets, seed, None),
    "prices": lambda sets, seed: _prices(sets, seed, None),
}
"""How sets are held out, by name."""
