"""Data cards: a README in which people write the prose, and the figures are computed.

    ---                                 front matter as the Hugging Face hub reads it: `language` and
    license: apache-2.0                 `size_categories` are computed, the rest is yours
    ---
    ## Known flaws                      kept as it is
    <!-- figures:counts -->
    ...                                 replaced each time
    <!-- end -->

The questions of the skeleton follow Gebru et al., "Datasheets for Datasets" (2018), and Pushkarna et al., "Data Cards"
(2022).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from catp.training.data.card_blocks import BLOCKS, Figures
from catp.training.data.card_data import CardError
from catp.training.data.card_figures import Counts

__all__ = ["Card", "filled", "skeleton"]

_START = re.compile(r"^<!--\s*figures:\s*(\S+)\s*-->\s*$")
_END = re.compile(r"^<!--\s*end\s*-->\s*$")
_FENCE = re.compile(r"^\s*(```|~~~)")
_TODO = re.compile(r"\bTODO\b")


@dataclass(frozen=True)
class Card:
    """A README with its blocks filled in, and what is still missing in it."""

    text: str
    todo: tuple[str, ...]
    """Headings above a TODO."""
    missing: tuple[str, ...]
    """Blocks that the README has no place for."""


def filled(readme: str, blocks: Mapping[str, str], counts: Counts) -> Card:
    """Return the README with each block between its markers, and with the computed fields of its front matter.

    Raises:
        CardError: a block has an unknown name, is there twice, or does not end.
    """
    out: list[str] = []
    inside, fenced, found = "", False, dict[str, int]()
    for number, line in enumerate(readme.splitlines(), start=1):
        fenced ^= not inside and _FENCE.match(line) is not None
        start = None if fenced else _START.match(line)
        if start is not None:
            inside = _opened(start[1], inside, found, number)
            out += [line, "", blocks[inside], ""]
        elif not fenced and _END.match(line):
            if not inside:
                raise CardError(f"README.md:{number}: `<!-- end -->` ends no block; remove it")
            inside = ""
        if not inside:
            out.append(line)
    if inside:
        raise CardError(f"README.md:{found[inside]}: block {inside!r} does not end; write `<!-- end -->` below it")
    text = _front_matter("\n".join(out) + "\n", counts)
    return Card(text, _todo(text), tuple(name for name in BLOCKS if name not in found))


def skeleton(name: str, figures: Figures) -> str:
    """Return a README with all headings, empty blocks, and a TODO wherever somebody must write."""
    license = next((name.lower() for name in figures.licenses), "TODO")
    front = [
        "---",
        f"pretty_name: {name}",
        f"license: {license}",
        "language: []",
        "size_categories: []",
        "task_categories: [other]",
        f"tags: [tool-use, planning, cost-aware, {'simulated' if figures.counts.simulated else 'measured'}]",
        "---",
    ]
    parts = ["\n".join(front), f"# {name}"]
    for heading, question, names in _SECTIONS:
        parts.append(f"## {heading}")
        parts += [f"TODO: {question}"] if question else []
        parts += [f"<!-- figures:{block} -->\n<!-- end -->" for block in names]
    return "\n\n".join(parts) + "\n"


_SECTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("What it is for", "what the data are, who made them, and which question they answer.", ()),
    ("What is in it", "", ("counts", "shape")),
    ("Source and licence", "where inputs, requests and truths are from, each with its licence.", ()),
    ("How it was collected", "what was run or simulated, in which order, what was shared between plans, and when.", ()),
    ("Hardware and prices", "the machine and its load, versions of tools, and how a price follows from a call.", ()),
    ("Scores", "the metric of each output, its range, and how the scores of several outputs make one.", ()),
    ("Distributions", "", ("distribution",)),
    ("Is there a choice to make?", "", ("tradeoff",)),
    ("Tools", "", ("capabilities",)),
    ("Inputs and the plans that win", "", ("conditions",)),
    ("Where the variance is", "", ("variance",)),
    ("Concurrency", "", ("concurrency",)),
    ("Known flaws", "what is wrong with the data and could not be helped.", ()),
    ("What it cannot show", "which conclusions the data do not carry.", ()),
    ("How to rebuild it", "the command, how long it takes, and what comes out the same.", ()),
)


def _opened(name: str, inside: str, found: dict[str, int], number: int) -> str:
    if inside:
        raise CardError(f"README.md:{found[inside]}: block {inside!r} does not end before line {number}")
    if name not in BLOCKS:
        near = get_close_matches(name, BLOCKS, 1)
        raise CardError(
            f"README.md:{number}: no figures are called {name!r}; "
            + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(BLOCKS)}")
        )
    if name in found:
        raise CardError(f"README.md:{number}: block {name!r} is there twice, first in line {found[name]}; remove one")
    found[name] = number
    return name


def _front_matter(text: str, counts: Counts) -> str:
    """Set what is computed in the front matter, if there is one."""
    end = text.find("\n---\n", 4)
    if not text.startswith("---\n") or end < 0:
        return text
    front, rest = text[:end], text[end:]
    front = _set(front, "size_categories", [_size_category(counts.records)])
    return (_set(front, "language", sorted(counts.languages)) if counts.languages else front) + rest


def _set(front: str, field: str, values: list[str]) -> str:
    line = f"{field}: [{', '.join(values)}]"
    pattern = re.compile(rf"^{field}:.*(\n[ ]*- .*)*$", re.MULTILINE)  # both spellings of a list
    return pattern.sub(line, front, count=1) if pattern.search(front) else f"{front}\n{line}"


def _size_category(n: int) -> str:
    """The hub's names for sizes."""
    bounds = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return next((name for bound, name in bounds if n < bound), "1M<n<10M")


def _todo(text: str) -> tuple[str, ...]:
    found: list[str] = []
    heading = "front matter"
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("#").strip()
        if _TODO.search(line) and heading not in found:
            found.append(heading)
    return tuple(found)
