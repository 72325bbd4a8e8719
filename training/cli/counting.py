"""Progress of commands that pass over records: a counter on a terminal, a line now and then elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from catp.cli.output import console_err

__all__ = ["counting"]

_FEW = 5_000
"""Shorter files are done before anybody wonders."""

_LINE_EVERY = 50_000


@contextmanager
def counting(what: str) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of records done so far, as often as you like."""
    console = console_err()
    if not console.is_terminal:
        yield lambda done: console.print(f"{what} {done:,} records") if not done % _LINE_EVERY else None
        return
    with console.status("") as status:
        yield lambda done: status.update(f"{what} {done:,} records") if not done % _FEW else None
