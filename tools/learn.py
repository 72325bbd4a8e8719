"""Profiles from the calls of the ledger: learned one after the other, or rebuilt from all there ever were."""

import logging
from collections.abc import Iterable, Iterator, Sequence

from catp.tools.call_fact import CallFact
from catp.tools.profile import ProfileBook

__all__ = ["in_time_order", "learn_all", "rebuild", "taught"]

_log = logging.getLogger("catp.tools")
_SHOWN = 3


def learn_all(book: ProfileBook, facts: Iterable[CallFact]) -> int:
    """Add calls to a book in the order given; return how many were left out.

    A call that cannot have happened like this (negative, infinite or missing figures) is left out with a warning in the
    log: it must not spoil what thousands of others taught.
    """
    odd: list[str] = []
    for fact in facts:
        try:
            book.learn(fact)
        except (ValueError, TypeError, OverflowError) as error:
            odd.append(f"{fact.tool}: {error}")
    if odd:
        more = f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
        _log.warning("nothing was learned from %d call(s): %s%s", len(odd), "; ".join(odd[:_SHOWN]), more)
    return len(odd)


def taught(book: ProfileBook, facts: Sequence[CallFact]) -> ProfileBook:
    """Return the book with these calls added; whoever predicts from the given one is not disturbed."""
    found = book.copy({(fact.tool, fact.version) for fact in facts})
    learn_all(found, facts)
    return found


def rebuild(facts: Iterable[CallFact]) -> ProfileBook:
    """Return the profiles that these calls teach, in the order in which they ended."""
    book = ProfileBook()
    learn_all(book, in_time_order(facts))
    return book


def in_time_order(facts: Iterable[CallFact]) -> Iterator[CallFact]:
    """Yield calls by the time they ended; those of one instant stay in the order given.

    A clock that jumped back puts some calls among earlier ones. That does no harm: calls fade by number, not by age.
    """
    return iter(sorted(facts, key=lambda fact: fact.at_ns))
